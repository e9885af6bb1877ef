"""Stages of the pipeline: each gathers values, lets ``core`` compute, and acts on the answer."""

from bakeoff.orchestrator.bench.bench import bench, benchmark_champions
from bakeoff.orchestrator.bench.upload import sync
from bakeoff.orchestrator.champions import recall_selection, select_champions
from bakeoff.orchestrator.checkpoints import acquire_checkpoints
from bakeoff.orchestrator.compare.compare import compare
from bakeoff.orchestrator.decide import decide, load_decision, recall_measurements, save_decision
from bakeoff.orchestrator.plan import estimate_time, explain, filter_missing_benchmarks, plan
from bakeoff.orchestrator.progress import Progress, Quiet
from bakeoff.orchestrator.project import Project, open_project
from bakeoff.orchestrator.promote.promote import promote, undo_promotion
from bakeoff.orchestrator.sweep.join import join_sweep
from bakeoff.orchestrator.sweep.lead import sweep

__all__ = [
    "Progress",
    "Project",
    "Quiet",
    "acquire_checkpoints",
    "bench",
    "benchmark_champions",
    "compare",
    "decide",
    "estimate_time",
    "explain",
    "filter_missing_benchmarks",
    "join_sweep",
    "load_decision",
    "open_project",
    "plan",
    "promote",
    "recall_measurements",
    "recall_selection",
    "save_decision",
    "select_champions",
    "sweep",
    "sync",
    "undo_promotion",
]

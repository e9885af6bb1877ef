"""Each stage a short paragraph: gather, think, act."""

from bakeoff.orchestrator.acquisition import acquire_checkpoints
from bakeoff.orchestrator.champions import recall_selection, select_champions
from bakeoff.orchestrator.contrasts import compare
from bakeoff.orchestrator.decisions import decide, load_decision, recall_measurements, save_decision
from bakeoff.orchestrator.joining import join_sweep
from bakeoff.orchestrator.measurements import bench, benchmark_champions
from bakeoff.orchestrator.planning import explain, filter_missing_benchmarks, plan
from bakeoff.orchestrator.progress import Progress, Quiet
from bakeoff.orchestrator.project import Project, open_project
from bakeoff.orchestrator.promotion import promote, undo_promotion
from bakeoff.orchestrator.sending import sync
from bakeoff.orchestrator.studies import sweep

__all__ = [
    "Progress",
    "Project",
    "Quiet",
    "acquire_checkpoints",
    "bench",
    "benchmark_champions",
    "compare",
    "decide",
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

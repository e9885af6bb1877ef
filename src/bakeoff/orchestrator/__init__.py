"""Each stage a short paragraph: gather, think, act."""

from bakeoff.orchestrator.champions import select_champions
from bakeoff.orchestrator.decisions import decide, load_decision, promote, save_decision
from bakeoff.orchestrator.measurements import bench, benchmark_champions, plan
from bakeoff.orchestrator.progress import Progress, Quiet
from bakeoff.orchestrator.project import Project, open_project
from bakeoff.orchestrator.studies import sweep

__all__ = [
    "Progress",
    "Project",
    "Quiet",
    "bench",
    "benchmark_champions",
    "decide",
    "load_decision",
    "open_project",
    "plan",
    "promote",
    "save_decision",
    "select_champions",
    "sweep",
]

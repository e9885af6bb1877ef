"""bakeoff: from hyper-parameter sweeps to the model you ship.

Names are imported when they are first used, so that ``import bakeoff`` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.plan.jobs import Plan
    from bakeoff.core.records import Champion, Measurement
    from bakeoff.errors import BakeoffError
    from bakeoff.orchestrator.bench.bench import bench, benchmark_champions
    from bakeoff.orchestrator.champions import select_champions
    from bakeoff.orchestrator.checkpoints import acquire_checkpoints
    from bakeoff.orchestrator.decide import decide
    from bakeoff.orchestrator.plan import filter_missing_benchmarks, plan
    from bakeoff.orchestrator.project import open_project
    from bakeoff.orchestrator.promote.promote import promote, undo_promotion
    from bakeoff.orchestrator.sweep.lead import sweep
    from bakeoff.report.notebook import show
    from bakeoff.run.training.trainer import Trainer

_HOMES = {
    "BakeoffError": "bakeoff.errors",
    "Champion": "bakeoff.core.records",
    "Decision": "bakeoff.core.decision.decide",
    "Measurement": "bakeoff.core.records",
    "Plan": "bakeoff.core.plan.jobs",
    "Trainer": "bakeoff.run.training.trainer",
    "acquire_checkpoints": "bakeoff.orchestrator.checkpoints",
    "bench": "bakeoff.orchestrator.bench.bench",
    "benchmark_champions": "bakeoff.orchestrator.bench.bench",
    "decide": "bakeoff.orchestrator.decide",
    "filter_missing_benchmarks": "bakeoff.orchestrator.plan",
    "open_project": "bakeoff.orchestrator.project",
    "plan": "bakeoff.orchestrator.plan",
    "promote": "bakeoff.orchestrator.promote.promote",
    "select_champions": "bakeoff.orchestrator.champions",
    "show": "bakeoff.report.notebook",
    "sweep": "bakeoff.orchestrator.sweep.lead",
    "undo_promotion": "bakeoff.orchestrator.promote.promote",
}

__all__ = [
    "BakeoffError",
    "Champion",
    "Decision",
    "Measurement",
    "Plan",
    "Trainer",
    "acquire_checkpoints",
    "bench",
    "benchmark_champions",
    "decide",
    "filter_missing_benchmarks",
    "open_project",
    "plan",
    "promote",
    "select_champions",
    "show",
    "sweep",
    "undo_promotion",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bakeoff' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

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
    from bakeoff.orchestrator import (
        acquire_checkpoints,
        bench,
        benchmark_champions,
        decide,
        filter_missing_benchmarks,
        open_project,
        plan,
        promote,
        select_champions,
        sweep,
        undo_promotion,
    )
    from bakeoff.report.notebook import show
    from bakeoff.run.training.trainer import Trainer

_HOMES = {
    "BakeoffError": "bakeoff.errors",
    "Champion": "bakeoff.core.records",
    "Decision": "bakeoff.core.decision.decide",
    "Measurement": "bakeoff.core.records",
    "Plan": "bakeoff.core.plan.jobs",
    "Trainer": "bakeoff.run.training.trainer",
    "acquire_checkpoints": "bakeoff.orchestrator",
    "bench": "bakeoff.orchestrator",
    "benchmark_champions": "bakeoff.orchestrator",
    "decide": "bakeoff.orchestrator",
    "filter_missing_benchmarks": "bakeoff.orchestrator",
    "open_project": "bakeoff.orchestrator",
    "plan": "bakeoff.orchestrator",
    "promote": "bakeoff.orchestrator",
    "select_champions": "bakeoff.orchestrator",
    "show": "bakeoff.report.notebook",
    "sweep": "bakeoff.orchestrator",
    "undo_promotion": "bakeoff.orchestrator",
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

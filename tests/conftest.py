"""For all tests: no example is timed, and what takes longest begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or its drawing, says nothing on a machine that does other work, too.
settings.register_profile(
    "untimed",
    settings(),
    deadline=None,
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.too_slow],
)
# To look for new faults: HYPOTHESIS_PROFILE=long pytest --timeout 0 tests/unit/test_fuzzing.py
settings.register_profile("long", settings.get_profile("untimed"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))

# The files with most work, the longest first: a process takes the next file when it has done one, and what
# comes last should be short, or the others wait for it. Where the order is old, it costs little.
LONG = (
    # The first makes the project that most of the others need, and the second can do without.
    "test_flow.py",
    "test_backends.py",
    "test_demo.py",
    "test_any_models.py",
    "test_book.py",
    "test_large_sweeps.py",
    "test_ray.py",
    "test_text_tasks.py",
    "test_exactly_once.py",
    "test_costs.py",
    "test_trial_search.py",
    "test_compare.py",
    "test_cli.py",
    "test_serving.py",
    "test_whole_heats.py",
    "test_pruning.py",
    "test_trial.py",
    "test_foreign_graphs.py",
    "test_setup.py",
    "test_promote.py",
    "test_large_stores.py",
    "test_training.py",
    "test_legacy.py",
    "test_measuring.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, the other tests with child processes next, and those without last."""
    ranks = {name: rank for rank, name in enumerate(LONG)}

    def rank(item: pytest.Item) -> tuple[int, bool]:
        path = Path(item.path)
        return ranks.get(path.name, len(LONG)), "integration" not in path.parts

    items.sort(key=rank)

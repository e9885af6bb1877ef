"""Settings against the metrics of the task: one without metrics is decided by speed, and told at once."""

from __future__ import annotations

import pytest

from bakeoff.core.config.parse import parse_settings
from bakeoff.errors import ConfigError

MODELS = "models:\n  m: ./m\n"
TENSORS = f"{MODELS}data: {{task: tensors, test: a.npz}}\n"
TIMED = "benchmark: {scenarios: [{kind: latency}]}\n"
QUICK = "decision: {objective: {kind: fastest}}\n"
SCENARIO_FIX = (
    "found 'quality'; the task tensors has no labels to compare with; leave it out of benchmark.scenarios, "
    "and set decision.objective to {kind: fastest}"
)
OBJECTIVE_FIX = "found 'weighted'; the task tensors has no metric of quality; set {kind: fastest}"


def faults_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_settings({"": ("bakeoff.yaml", text)})
    return str(caught.value).splitlines()


def test_tensors_by_speed_alone_are_fine() -> None:
    read = parse_settings({"": ("bakeoff.yaml", TENSORS + TIMED + QUICK)})
    assert read.data.task.kind == "tensors"


def test_the_defaults_do_not_suit_tensors_and_both_lines_say_what_to_set() -> None:
    assert faults_of(TENSORS) == [
        f"bakeoff.yaml:1:1: benchmark.scenarios.0: {SCENARIO_FIX}",
        f"bakeoff.yaml:1:1: decision.objective: {OBJECTIVE_FIX}",
    ]


def test_a_written_scenario_is_named_with_its_line() -> None:
    scenarios = "benchmark:\n  scenarios:\n    - kind: latency\n    - kind: quality\n"
    (line,) = faults_of(TENSORS + QUICK + scenarios)
    assert line == f"bakeoff.yaml:8:7: benchmark.scenarios.1: {SCENARIO_FIX}"


@pytest.mark.parametrize(
    ("added", "place", "found"),
    [
        ("metric: f1", "decision.metric", "'f1'"),
        ("constraints: [{kind: quality, at_least: 0.5}]", "decision.constraints.0", "'quality'"),
        ("constraints: [{kind: quality_drop, at_most: 0.5}]", "decision.constraints.0", "'quality_drop'"),
    ],
)
def test_a_limit_on_quality_is_refused_where_nothing_can_be_judged(
    added: str, place: str, found: str
) -> None:
    (line,) = faults_of(f"{TENSORS}{TIMED}decision:\n  objective: {{kind: fastest}}\n  {added}\n")
    assert f" {place}: found {found}; the task tensors has no metric of quality; remove " in line
    assert line.startswith("bakeoff.yaml:7:")

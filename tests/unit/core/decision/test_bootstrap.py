"""Evidence of latency: ratios to a common reference where there is one, absolute values elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import RelativeLatency, draw_relative_latency, require_latency
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision, decide
from bakeoff.core.job import Environment, Hardware
from unit.outcomes import count_entities

from ..measured import calls

HARDWARE = Hardware(machine="x86_64", cpu_model="Example CPU", physical_cores=2, usable_cpus=2)
ENVIRONMENT = Environment(hardware=HARDWARE, libraries={})
OUTCOMES = count_entities([3] * 50, 4)


def make_candidate(name: str, ms: float, heat: int = 0, **changes: Any) -> Candidate:
    """A candidate that was measured beside one that takes 10 ms, on a machine that wanders."""
    is_reference = name == "reference"
    values: Mapping[str, Any] = {
        "backbone": name,
        "runtime": "torch-fp32",
        "champion_run_id": "1" * 32,
        "checkpoint_digest": "c" * 64,
        "quality_inputs_digest": "q" * 64,
        "outcomes": OUTCOMES,
        "latency": {1: calls("latency", ms, seed=len(name), heat=heat)},
        "references": {} if is_reference else {1: calls("reference", 10.0, seed=99, heat=heat)},
        "reference_key": "key of reference",
        "latency_key": f"key of {name}",
        "uses_one_thread": True,
        "environment": ENVIRONMENT,
        "benchmark_keys": (f"{name}:quality", f"{name}:latency"),
    }
    return Candidate(**{**values, **changes})


REFERENCE = make_candidate("reference", 10.0)
SETTINGS = DecisionSettings(resamples=1000, constraints=())


def relative_latency_of(*candidates: Candidate) -> RelativeLatency:
    estimates = [require_latency(each, 1, 0.5, 0.95) for each in candidates]
    return draw_relative_latency(candidates, estimates, SETTINGS)


def rule(*candidates: Candidate, **changes: Any) -> Decision:
    return decide(candidates, DecisionSettings.model_validate({"resamples": 500} | changes))


def test_the_pace_is_the_ratio_of_interleaved_rounds_however_the_machine_wanders() -> None:
    relative_latency = relative_latency_of(REFERENCE, make_candidate("other", 10.5))
    assert relative_latency.is_paired
    assert relative_latency.values == pytest.approx([1.0, 1.05], rel=0.01)
    spread = np.std(relative_latency.draws[:, 1])
    assert spread < 0.02


def test_absolute_latencies_of_the_same_calls_could_not_tell_them_apart() -> None:
    """The check of the test above: without a common reference the wandering is all that is seen."""
    relative_latency = relative_latency_of(
        REFERENCE.model_copy(update={"reference_key": ""}),
        make_candidate("other", 10.5, reference_key=""),
    )
    assert not relative_latency.is_paired
    assert np.std(relative_latency.draws[:, 1]) / relative_latency.values[1] > 0.1


def test_heats_of_unlike_days_are_joined_by_their_common_reference() -> None:
    """The second heat ran on a machine in another state; only the ratios to the reference are compared."""
    decision = rule(REFERENCE, make_candidate("early", 8.0, heat=1), make_candidate("late", 7.0, heat=2))
    assert [row.backbone for row in decision.standings] == ["late", "early", "reference"]
    assert decision.winner == "late × torch-fp32"


def test_candidates_with_unlike_references_are_compared_by_absolute_values() -> None:
    relative_latency = relative_latency_of(
        REFERENCE, make_candidate("other", 10.5, reference_key="another key")
    )
    assert not relative_latency.is_paired


def make_busy(name: str, ms: float, cpu_ms: float, **changes: Any) -> Candidate:
    """A candidate whose clock other work has stretched."""
    latency = calls("latency", ms, seed=len(name), heat=0, cpu_ms=cpu_ms)
    return make_candidate(name, ms, is_contended=True, latency={1: latency}, **changes)


def test_on_a_busy_machine_one_thread_is_compared_by_cpu_time() -> None:
    assert relative_latency_of(REFERENCE, make_busy("busy", 30.0, 12.0)).values == pytest.approx(
        [1.0, 1.2], rel=0.02
    )


def test_a_tail_is_compared_by_cpu_time_too() -> None:
    settings = SETTINGS.model_copy(update={"quantile": 0.9})
    busy = make_busy("busy", 30.0, 12.0)
    estimates = [require_latency(each, 1, 0.9, 0.95) for each in (REFERENCE, busy)]
    relative_latency = draw_relative_latency((REFERENCE, busy), estimates, settings)
    assert relative_latency.is_paired
    # The reference's CPU time is what its clock would have read on a machine that holds still.
    assert relative_latency.values[1] == pytest.approx(1.2, rel=0.02)


def test_where_anyone_of_the_heat_used_two_threads_nobody_is_compared_by_cpu_time() -> None:
    """The CPU time of a reference whose two threads spin is twice its clock: all would look twice as fast."""
    spinning = calls("reference", 10.0, seed=99, heat=0, cpu_ms=20.0)
    busy = make_busy("busy", 10.5, 10.5, references={1: spinning}, uses_one_thread=False)
    assert relative_latency_of(REFERENCE, busy).values == pytest.approx([1.0, 1.05], rel=0.02)


def test_all_candidates_of_a_decision_are_compared_by_the_same_time() -> None:
    """One CPU ratio beside a wall ratio would be on another scale; so the two of one decision agree."""
    busy = make_busy("busy", 30.0, 12.0)
    two_threads = make_candidate("other", 20.0, uses_one_thread=False)
    assert relative_latency_of(REFERENCE, busy, two_threads).values == pytest.approx(
        [1.0, 3.0, 2.0], rel=0.02
    )
    one_thread = make_busy("other", 20.0, 9.0).model_copy(update={"is_contended": False})
    assert relative_latency_of(REFERENCE, busy, one_thread).values == pytest.approx([1.0, 1.2, 0.9], rel=0.02)


def test_a_tail_is_decided_though_the_reference_died_in_a_later_process() -> None:
    whole = calls("reference", 10.0, seed=99, heat=0)
    n = whole.repeats.index(3)
    columns = {name: column[:n] for name, column in whole.columns.items()}
    short = whole.model_copy(
        update={"values": whole.values[:n], "repeats": whole.repeats[:n], "columns": columns}
    )
    other = make_candidate("other", 8.0, references={1: short})
    decision = rule(REFERENCE, other, quantile=0.9)
    assert decision.winner == "other × torch-fp32"


def test_a_decision_on_a_busy_machine_says_that_its_confidence_is_low() -> None:
    decision = rule(REFERENCE, make_candidate("busy", 5.0, is_contended=True))
    assert decision.winner == "busy × torch-fp32"
    assert any(reason.startswith("low confidence: the machine was busy") for reason in decision.reasons)
    assert not any("low confidence" in reason for reason in rule(REFERENCE, make_candidate("b", 5.0)).reasons)


def test_a_winner_by_measurements_that_do_not_count_as_done_is_no_pass() -> None:
    done = make_candidate("busy", 5.0, is_contended=True)
    assert rule(REFERENCE, done).is_pass
    decision = rule(REFERENCE, done.model_copy(update={"is_done": False}))
    assert (decision.outcome, decision.winner, decision.is_pass) == ("winner", "busy × torch-fp32", False)
    assert decision.not_done == ("busy × torch-fp32",)
    assert any("too busy while busy × torch-fp32 was measured" in each for each in decision.reasons)


@pytest.mark.parametrize(("is_contended", "expected"), [(False, "failed"), (True, "cannot tell")])
def test_a_busy_machine_proves_no_candidate_too_slow(is_contended: bool, expected: str) -> None:
    limit = {"kind": "latency", "batch_size": 1, "quantile": 0.5, "at_most_ms": 0.001}
    decision = rule(make_candidate("reference", 10.0, is_contended=is_contended), constraints=[limit])
    assert [result.result for row in decision.standings for result in row.constraints] == [expected]

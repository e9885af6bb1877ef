"""Production: which candidate it is, how far the others are from it, and what is not known then."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision, decide
from bakeoff.core.decision.production import Production
from bakeoff.core.estimate import Estimate
from judged import quality_of
from unit.core.field import FEW, make_candidate, make_exact, standing_of

OLD = make_candidate("old", 0.80, 6.0)
NEW = make_candidate("new", 0.90, 5.0)
POOR = make_candidate("poor", 0.60, 2.0)
DROP = {"kind": "quality_drop", "against": "production", "at_most": 0.005}


def version_of(candidate: Candidate, **changes: Any) -> Production:
    values = {
        "model": "m",
        "version": "3",
        "checkpoint_digest": candidate.checkpoint_digest,
        "runtime": candidate.runtime,
        "benchmark_keys": candidate.benchmark_keys,
        "reason": "",
    }
    return Production.model_validate({**values, **changes})


def rule(candidates: list[Candidate], production: Production | None, **changes: Any) -> Decision:
    made = DecisionSettings.model_validate({"resamples": FEW} | changes)
    return decide(candidates, made, production=production)


def test_production_is_known_by_the_measurements_with_which_it_won() -> None:
    decision = rule([NEW, OLD], version_of(OLD, checkpoint_digest="0" * 64))
    assert (decision.production.label, decision.production.reason) == (OLD.label, "")


def test_production_that_was_measured_anew_is_known_by_checkpoint_and_runtime() -> None:
    own = OLD.model_copy(update={"checkpoint_digest": "1" * 64})
    assert rule([NEW, own], version_of(own, benchmark_keys=["gone"])).production.label == OLD.label
    assert rule([NEW, own], version_of(own, benchmark_keys=[], runtime="x")).production.label is None


def test_production_that_may_be_any_of_two_is_told_as_such() -> None:
    twin = OLD.model_copy(update={"backbone": "twin"})
    production = rule([NEW, OLD, twin], version_of(OLD)).production
    assert production.label is None
    assert production.reason == f"version 3 of m may be any of {OLD.label}, {twin.label}"


def test_each_candidate_is_told_with_its_distance_from_production() -> None:
    decision = rule([NEW, OLD], version_of(OLD))
    own, other = (standing_of(decision, name).versus_production for name in ("old", "new"))
    assert own is not None
    assert other is not None
    assert (quality_of(own).low, quality_of(own).value, quality_of(own).high) == (0.0, 0.0, 0.0)
    assert (own.latency_ratio.low, own.latency_ratio.high) == (1.0, 1.0)
    assert quality_of(other).value == pytest.approx(
        quality_of(standing_of(decision, "new")).value - quality_of(standing_of(decision, "old")).value
    )
    assert quality_of(other).low > 0
    assert other.latency_ratio.value == pytest.approx(5 / 6, rel=0.03)


def test_the_same_documents_make_a_difference_more_certain_than_unlike_ones_would() -> None:
    decision = rule([NEW, OLD], version_of(OLD))
    new, old = (standing_of(decision, name) for name in ("new", "old"))
    assert new.versus_production is not None
    unpaired = math.hypot(width_of(quality_of(new)), width_of(quality_of(old)))
    assert width_of(quality_of(new.versus_production)) < unpaired


def width_of(estimate: Estimate) -> float:
    assert estimate.high is not None
    return estimate.high - estimate.low


def test_who_is_worse_than_production_by_more_than_allowed_does_not_win() -> None:
    decision = rule(
        [OLD, POOR], version_of(OLD), constraints=[DROP], objective={"kind": "weighted", "weights": SPEED}
    )
    assert decision.winner == OLD.label
    assert standing_of(decision, "poor").reason.startswith("failed: F1 against production: -0.")


SPEED = {"quality": 0, "latency": 1}


@pytest.mark.parametrize(("at_most", "result"), [(0.25, "met"), (0.2499, "failed")])
def test_a_drop_from_production_is_met_at_its_very_edge(at_most: float, result: str) -> None:
    best, less = make_exact("best", hits=4, ms=5.0), make_exact("less", hits=3, ms=5.0)
    decision = rule([best, less], version_of(best), constraints=[{**DROP, "at_most": at_most}])
    assert standing_of(decision, "less").constraints[0].result == result
    assert standing_of(decision, "best").constraints[0].result == "met"


def test_a_drop_from_the_reference_needs_no_production() -> None:
    decision = rule([OLD, NEW, POOR], None, constraints=[{**DROP, "against": "reference"}])
    results = {row.backbone: row.constraints[0].result for row in decision.standings}
    assert results == {"old": "met", "new": "met", "poor": "failed"}


@pytest.mark.parametrize(
    ("production", "reason"),
    [
        (None, "the registry was not asked for the version in production"),
        (Production(reason="no version of m has the alias @champion"), "no version of m has the alias"),
        (version_of(OLD, checkpoint_digest="0" * 64), "version 3 of m is not among the measured candidates"),
    ],
)
def test_against_production_that_is_not_measured_nothing_can_be_told(
    production: Production | None, reason: str
) -> None:
    decision = rule([NEW], production, constraints=[DROP])
    result = decision.standings[0].constraints[0]
    assert (decision.outcome, result.result) == ("undecided", "cannot tell")
    assert reason in result.text
    assert decision.standings[0].versus_production is None

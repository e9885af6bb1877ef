"""The decision: what may change it, what may not, and what it refuses to say."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.decision_rules import LatencyLimit, QualityFloor
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate, assemble_candidates
from bakeoff.core.decision.decide import Decision, decide, read_decision
from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag, Measurement
from bakeoff.core.validity.flags import FEW_REPEATS, NO_REFIT_METRIC
from bakeoff.disk.sealed import seal_json
from bakeoff.errors import CannotTellError, DataError
from bakeoff.measure.backends import OnnxRuntime
from bakeoff.measure.scenarios import Latency, Quality
from bakeoff.measure.statistics.readings import Reading
from judged import quality_of
from unit.core.field import (
    ENVIRONMENT,
    FEW,
    HARDWARE,
    MS,
    make_candidate,
    make_entities,
    make_exact,
    make_latency,
    order_of,
    rule,
    score_of,
    standing_of,
    weigh,
)

GOOD = make_candidate("good", 0.90, 5.0)
FAST = make_candidate("fast", 0.60, 2.0)
POOR = make_candidate("poor", 0.50, 5.0)
SLOW = make_candidate("slow", 0.50, 20.0)
FIELD = [GOOD, FAST, POOR, SLOW]


# --- what changes nothing ---------------------------------------------------------------------------------


@settings(max_examples=24)
@given(others=st.permutations(FIELD[1:]))
def test_the_order_of_the_candidates_after_the_first_changes_nothing(others: list[Candidate]) -> None:
    assert rule([GOOD, *others]).model_dump_json() == rule(FIELD).model_dump_json()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("weights", [(0.8, 0.2), (0.2, 0.8), (0.5, 0.5)])
def test_another_reference_leaves_the_ranking(number: int, weights: tuple[float, float]) -> None:
    chosen = weigh(*weights)
    other = [FIELD[number], *(candidate for candidate in FIELD if candidate is not FIELD[number])]
    one, two = (
        rule(FIELD, objective=chosen),
        rule(other, objective=chosen),
    )
    assert two.reference == FIELD[number].label
    assert order_of(one) == order_of(two)
    assert (one.outcome, one.winner) == (two.outcome, two.winner)
    assert [(s.place, s.p_best) for s in one.standings] == [(s.place, s.p_best) for s in two.standings]
    for standing in one.standings:
        ratio = score_of(two, "good").value / score_of(one, "good").value
        assert score_of(two, standing.backbone).value == pytest.approx(
            score_of(one, standing.backbone).value * ratio
        )


def test_the_reference_has_score_one() -> None:
    score = score_of(rule(FIELD), "good")
    assert (score.value, score.low, score.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", ["aaa", "goob", "zzz"])
def test_a_dominated_candidate_does_not_change_the_winner(name: str) -> None:
    dominated = make_candidate(name, 0.4, 30.0)
    before, after = rule(FIELD), rule([*FIELD, dominated])
    assert (before.outcome, before.winner) == (after.outcome, after.winner) == ("winner", GOOD.label)
    assert [name_ for name_ in order_of(after) if name_ != name] == order_of(before)
    assert standing_of(after, name).place == "beaten"
    assert not standing_of(after, name).is_on_front


def test_a_dominated_candidate_does_not_decide_a_close_race() -> None:
    dominated = make_candidate("goob", 0.1, 90.0)
    speed_alone = weigh(0, 1)
    changed = []
    for step in range(20):
        rival = make_candidate("rival", 0.90, 5.0 * (1.014 + 0.0005 * step))
        before = rule([GOOD, rival], objective=speed_alone)
        after = rule([GOOD, rival, dominated], objective=speed_alone)
        if (before.outcome, before.winner) != (after.outcome, after.winner):
            changed.append((rival.backbone, step, before.outcome, after.outcome))
    assert not changed


@settings(max_examples=12)
@given(factor=st.sampled_from([1e-3, 0.1, 0.5, 2.0, 3.7, 1000.0]))
def test_scaling_all_latencies_leaves_the_order(factor: float) -> None:
    scaled = [
        candidate.model_copy(
            update={
                "latency": {
                    size: reading.model_copy(
                        update={"values": tuple(value * factor for value in reading.values)}
                    )
                    for size, reading in candidate.latency.items()
                }
            }
        )
        for candidate in FIELD
    ]
    one, two = rule(FIELD), rule(scaled)
    assert order_of(one) == order_of(two)
    assert (one.outcome, one.winner) == (two.outcome, two.winner)
    for standing in one.standings:
        other = standing_of(two, standing.backbone)
        assert other.latency_ms.value == pytest.approx(factor * standing.latency_ms.value)
        assert score_of(two, standing.backbone).value == pytest.approx(score_of(one, standing.backbone).value)


def test_equal_inputs_give_an_equal_decision_byte_for_byte() -> None:
    again = [Candidate.model_validate_json(candidate.model_dump_json()) for candidate in FIELD]
    decision = rule(FIELD)
    assert rule(FIELD).model_dump_json() == decision.model_dump_json() == rule(again).model_dump_json()
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


def test_another_seed_redraws_the_intervals_and_not_the_values() -> None:
    one, two = rule(FIELD, seed=0), rule(FIELD, seed=1)
    assert order_of(one) == order_of(two)
    assert score_of(one, "fast").value == score_of(two, "fast").value
    assert score_of(one, "fast").low != score_of(two, "fast").low


# --- winner -----------------------------------------------------------------------------------------------


def test_a_clear_winner_is_named_with_the_share_of_resamples() -> None:
    decision = rule(FIELD)
    assert (decision.outcome, decision.winner) == ("winner", "good × torch-fp32")
    assert decision.reasons == ("good × torch-fp32 has the best score (best in 100.0% of resamples)",)
    assert decision.winning_standing == decision.standings[0]
    assert decision.standings[0].place == "winner"
    assert decision.standings[0].reason == "best score"
    assert standing_of(decision, "slow").reason.startswith("beaten by good × torch-fp32 (score ahead by +")


def test_the_weights_decide_between_good_and_fast() -> None:
    assert rule(FIELD, objective=weigh(0, 1)).winner == FAST.label
    assert rule(FIELD, objective=weigh(1, 0)).winner == GOOD.label


def test_weights_count_by_their_ratio() -> None:
    one = rule(FIELD, objective=weigh(0.8, 0.2))
    two = rule(FIELD, objective=weigh(4, 1))
    assert [s.score for s in one.standings] == [s.score for s in two.standings]


def test_the_score_is_the_weighted_geometric_mean_of_the_two_ratios() -> None:
    candidates = [make_exact("one", hits=2, ms=8.0), make_exact("two", hits=3, ms=16.0)]
    decision = rule(candidates, objective=weigh(0.75, 0.25))
    assert score_of(decision, "two").value == pytest.approx((3 / 2) ** 0.75 * (8 / 16) ** 0.25)


def test_a_model_that_finds_nothing_scores_as_almost_nothing() -> None:
    decision = rule([make_exact("some", hits=1, ms=5.0), make_exact("none", hits=0, ms=5.0)])
    assert decision.winner == "some × torch-fp32"
    assert score_of(decision, "none").value < 1e-6


def test_a_lone_candidate_wins() -> None:
    decision = rule([GOOD])
    assert decision.winner == GOOD.label
    assert decision.standings[0].p_best == 1.0


def test_the_shares_of_the_best_add_up_to_one() -> None:
    assert sum(standing.p_best for standing in rule(FIELD).standings) == pytest.approx(1.0)


def test_the_latency_that_counts_is_of_the_batch_size_and_quantile_asked_for() -> None:
    readings = {1: make_latency(5.0, 1), 8: make_latency(20.0, 2, batch_size=8)}
    candidate = make_candidate("both", latency=readings)
    found = standing_of(rule([candidate], batch_size=8, quantile=0.9), "both")
    expected = readings[8].quantile(0.9)
    assert expected is not None
    assert found.latency_ms.value == pytest.approx(expected.value / MS)
    assert sorted(found.latency_by_batch_ms) == [1, 8]


def test_unsupported_tails_are_shown_as_missing() -> None:
    shown = standing_of(rule([make_candidate("few", latency={1: make_latency(5.0, 1, calls=20)})]), "few")
    by_name = shown.latency_by_batch_ms[1]
    assert by_name["p95"] is not None
    assert by_name["p99"] is None


def test_who_is_dominated_is_not_on_the_front() -> None:
    decision = rule(FIELD)
    assert {s.backbone for s in decision.standings if s.is_on_front} == {"good", "fast"}


def test_flags_and_keys_travel_to_the_standing() -> None:
    candidate = make_candidate("flagged", flags=(FEW_REPEATS.raised("3"),))
    standing = rule([candidate]).standings[0]
    assert standing.flags == candidate.flags
    assert standing.benchmark_keys == candidate.benchmark_keys


def test_candidates_that_cannot_be_ranked_are_told() -> None:
    decision = decide([GOOD], DecisionSettings(resamples=FEW), ["other: no latency measurement"])
    assert decision.incomplete == ("other: no latency measurement",)
    assert decision.reasons[-1] == "other: no latency measurement"


# --- ties -------------------------------------------------------------------------------------------------

TWIN = make_candidate("twin", 0.90, 5.0)


def test_a_tie_names_all_who_are_tied_and_no_winner() -> None:
    decision = rule([GOOD, TWIN, SLOW])
    assert (decision.outcome, decision.winner) == ("tie", None)
    assert decision.reasons[0] == "good × torch-fp32 and twin × torch-fp32 are statistically tied"
    assert {s.backbone: s.place for s in decision.standings} == {
        "good": "tied",
        "twin": "tied",
        "slow": "beaten",
    }
    assert decision.winning_standing is None


def test_a_tie_says_who_leads_and_by_how_much_the_others_may_be_behind() -> None:
    reasons = [standing.reason for standing in rule([GOOD, TWIN]).standings]
    assert "best score, but not with confidence" in reasons
    assert any(reason.startswith("tied with ") for reason in reasons)


def test_exact_twins_are_tied() -> None:
    twins = [make_exact(name, hits=2, ms=5.0) for name in ("one", "two")]
    assert rule(twins).outcome == "tie"
    assert rule(twins, objective=weigh(1, 0)).outcome == "tie"


def test_the_fastest_of_the_tied_wins_if_that_is_asked_for() -> None:
    one, two = make_candidate("one", 0.90, 5.2), make_candidate("two", 0.90, 5.0)
    decision = rule([one, two, SLOW], when_tied="fastest", objective=weigh(0.99, 0.01))
    assert (decision.outcome, decision.winner) == ("winner", two.label)
    assert decision.reasons[0].endswith(" are statistically tied")
    assert standing_of(decision, "two").reason == "fastest of the tied"
    assert standing_of(decision, "one").place == "tied"
    assert standing_of(decision, "slow").place == "beaten"


def test_the_fastest_of_all_does_not_win_if_it_is_beaten() -> None:
    decision = rule([GOOD, TWIN, FAST], when_tied="fastest", objective=weigh(1, 0))
    assert decision.winner in (GOOD.label, TWIN.label)


def test_when_nobody_is_tied_the_fastest_does_not_win() -> None:
    assert rule(FIELD, when_tied="fastest").winner == GOOD.label


# --- constraints ------------------------------------------------------------------------------------------

EXACT = make_exact("exact", hits=2, ms=5.0)  # F1 is 0.5 and latency 5 ms, without any spread


@pytest.mark.parametrize(
    ("at_least", "result"), [(0.0, "met"), (0.5, "met"), (0.5000001, "failed"), (1.0, "failed")]
)
def test_a_quality_floor_is_met_at_its_very_edge(at_least: float, result: str) -> None:
    decision = rule([EXACT], constraints=(QualityFloor(kind="quality", at_least=at_least),))
    assert standing_of(decision, "exact").constraints[0].result == result


@pytest.mark.parametrize(
    ("at_most_ms", "result"), [(100.0, "met"), (5.0, "met"), (4.9999999, "failed"), (0.1, "failed")]
)
def test_a_latency_limit_is_met_at_its_very_edge(at_most_ms: float, result: str) -> None:
    decision = rule([EXACT], constraints=(LatencyLimit(kind="latency", at_most_ms=at_most_ms),))
    assert standing_of(decision, "exact").constraints[0].result == result


def test_a_limit_inside_the_interval_cannot_be_told() -> None:
    shown = standing_of(rule([GOOD]), "good")
    p95 = shown.latency_by_batch_ms[1]["p95"]
    assert p95 is not None
    for constraint in (
        QualityFloor(kind="quality", at_least=quality_of(shown).value),
        LatencyLimit(kind="latency", at_most_ms=p95.value),
    ):
        decision = rule([GOOD], constraints=(constraint,))
        assert standing_of(decision, "good").constraints[0].result == "cannot tell"
        assert (decision.outcome, decision.best_so_far) == ("undecided", GOOD.label)
        assert standing_of(decision, "good").place == "best so far"
        assert standing_of(decision, "good").reason.startswith("cannot tell: ")


def test_no_winner_is_named_over_one_that_is_undecided() -> None:
    shown = standing_of(rule([GOOD, FAST]), "good")
    limit = QualityFloor(kind="quality", at_least=quality_of(shown).value)
    low = make_candidate("low", 0.98 * 0.90, 2.0)
    decision = rule([low, GOOD], constraints=(limit,))
    places = {standing.backbone: standing.place for standing in decision.standings}
    assert decision.outcome in {"undecided", "none"}
    assert "undecided" in {*places.values(), decision.outcome}
    assert decision.winner is None
    assert all(standing.p_best < 1 for standing in decision.standings if len(places) > 1) or (
        places["low"] == "excluded"
    )


def test_who_is_beaten_anyway_need_not_be_decided() -> None:
    decided = rule([GOOD, SLOW], constraints=(LatencyLimit(kind="latency", at_most_ms=1000),))
    assert decided.winner == GOOD.label
    p95 = standing_of(decided, "slow").latency_by_batch_ms[1]["p95"]
    assert p95 is not None
    decision = rule([GOOD, SLOW], constraints=(LatencyLimit(kind="latency", at_most_ms=p95.value),))
    assert (decision.outcome, decision.winner) == ("winner", GOOD.label)
    slow = standing_of(decision, "slow")
    assert (slow.place, slow.constraints[0].result) == ("beaten", "cannot tell")


def test_an_undecided_candidate_that_may_be_better_leaves_a_best_so_far() -> None:
    other = make_candidate("other", 0.90, 5.1)
    p95 = standing_of(rule([GOOD, other]), "other").latency_by_batch_ms[1]["p95"]
    assert p95 is not None
    decision = rule([GOOD, other], constraints=(LatencyLimit(kind="latency", at_most_ms=p95.value),))
    places = {standing.backbone: standing.place for standing in decision.standings}
    assert decision.outcome == "undecided"
    assert "undecided" in places.values()
    assert decision.best_so_far is not None
    assert sum(standing.p_best for standing in decision.standings) == pytest.approx(1.0)
    assert any("to settle it, measure more repeats" in reason for reason in decision.reasons)


def test_a_limit_at_a_batch_size_that_was_not_measured_cannot_be_told() -> None:
    limit = LatencyLimit(kind="latency", batch_size=8, at_most_ms=100)
    result = standing_of(rule([GOOD], constraints=(limit,)), "good").constraints[0]
    assert (result.result, result.text) == (
        "cannot tell",
        "p95 at batch size 8: not measured, or too few samples",
    )


@pytest.mark.parametrize(("n", "result"), [(367, "cannot tell"), (368, "met")])
def test_a_limit_on_the_99th_percentile_needs_368_samples(n: int, result: str) -> None:
    limit = LatencyLimit(kind="latency", quantile=0.99, at_most_ms=10)
    decision = rule([make_exact("exact", hits=2, ms=5.0, n=n)], constraints=(limit,))
    assert standing_of(decision, "exact").constraints[0].result == result


def test_who_fails_a_constraint_does_not_win_however_good() -> None:
    decision = rule(FIELD, constraints=(LatencyLimit(kind="latency", at_most_ms=3),))
    assert decision.winner == FAST.label
    assert standing_of(decision, "good").place == "excluded"
    assert standing_of(decision, "good").reason.startswith("failed: p95 at batch size 1: ")
    assert standing_of(decision, "good").p_best == 0.0


def test_every_constraint_must_be_met() -> None:
    constraints = (
        LatencyLimit(kind="latency", at_most_ms=3),
        QualityFloor(kind="quality", at_least=0.8),
    )
    decision = rule(FIELD, constraints=constraints)
    assert (decision.outcome, decision.winner) == ("none", None)
    assert decision.reasons == ("no candidate meets every constraint",)
    assert {standing.place for standing in decision.standings} == {"excluded"}
    assert all(standing.reason for standing in decision.standings)
    assert all(standing.p_best == 0.0 for standing in decision.standings)


# --- what it refuses --------------------------------------------------------------------------------------


def test_nothing_to_compare_is_no_answer() -> None:
    with pytest.raises(CannotTellError, match="bakeoff bench"):
        rule([])


@pytest.mark.parametrize(
    "environment",
    [
        Environment(hardware=HARDWARE, libraries={"python": "3.12.1", "torch": "2.9.1"}),
        Environment(
            hardware=HARDWARE.model_copy(update={"cpu_model": "Another"}), libraries=ENVIRONMENT.libraries
        ),
    ],
)
def test_measurements_of_unlike_environments_are_not_ranked(environment: Environment) -> None:
    candidates = [GOOD, make_candidate("other", environment=environment)]
    with pytest.raises(CannotTellError, match="different environments"):
        rule(candidates)
    assert rule(candidates, allow_unlike_environments=True).standings


def test_candidates_on_unlike_devices_are_not_ranked_unasked() -> None:
    candidates = [GOOD, make_candidate("other", device="cuda")]
    with pytest.raises(CannotTellError, match=r"different devices \(cpu, cuda\)"):
        rule(candidates)
    assert rule(candidates, allow_unlike_environments=True).standings


def test_facts_that_are_recorded_only_make_no_environment_unlike() -> None:
    noted = ENVIRONMENT.model_copy(update={"facts": {"kernel": "6.1"}})
    assert rule([GOOD, make_candidate("other", environment=noted)]).standings


def test_candidates_that_were_judged_on_unlike_documents_are_not_ranked() -> None:
    with pytest.raises(CannotTellError, match="different documents"):
        rule([GOOD, make_candidate("other", quality_inputs_digest="0" * 64)])


def test_two_candidates_of_one_name_are_not_ranked() -> None:
    with pytest.raises(CannotTellError, match="same name"):
        rule([GOOD, make_candidate("good", 0.5)])


def test_a_batch_size_that_was_not_measured_is_no_answer() -> None:
    with pytest.raises(CannotTellError) as caught:
        rule([GOOD], batch_size=8)
    assert "at batch size 8 (measured: 1)" in str(caught.value)


@pytest.mark.parametrize(("quantile", "enough"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_a_quantile_without_the_samples_for_it_is_no_answer(quantile: float, enough: int) -> None:
    with pytest.raises(CannotTellError, match="take more samples"):
        rule([make_exact("exact", hits=2, ms=5.0, n=enough - 1)], quantile=quantile)
    assert rule([make_exact("exact", hits=2, ms=5.0, n=enough)], quantile=quantile).winner


# --- from measurements to candidates ----------------------------------------------------------------------


def make_measurement(job: Job, readings: Sequence[Reading], flags: Sequence[Flag] = ()) -> Measurement:
    return Measurement(
        job=job,
        attempt=1,
        measured_at="2026-01-02T03:04:05Z",
        environment=ENVIRONMENT,
        readings=tuple(readings),
        flags=tuple(flags),
        wall_s=1.0,
        timed_s=0.5,
    )


def measure_both(make_job: Callable[..., Job], changes: dict[str, Any]) -> list[Measurement]:
    quality = make_job(**{"scenario": Quality(), "protocol": None, "inputs_digest": "q" * 64, **changes})
    latency = make_job(**{"scenario": Latency(batch_sizes=(1,)), **changes})
    return [
        make_measurement(quality, [make_entities(0.8, 1)], [NO_REFIT_METRIC.raised("none")]),
        make_measurement(latency, [make_latency(5.0, 1)]),
    ]


def test_the_measurements_of_one_champion_and_runtime_are_one_candidate(make_job: Callable[..., Job]) -> None:
    measurements = measure_both(make_job, {}) + measure_both(make_job, {"runtime": OnnxRuntime(threads=2)})
    candidates, incomplete = assemble_candidates(measurements, DecisionSettings())
    assert [candidate.label for candidate in candidates] == [
        "minilm-l6 × torch-fp32",
        "minilm-l6 × onnxruntime-fp32",
    ]
    assert incomplete == ()
    assert candidates[0].benchmark_keys == (measurements[0].job.key, measurements[1].job.key)
    assert candidates[0].flags == (NO_REFIT_METRIC.raised("none"),)


def test_a_candidate_is_done_where_all_its_measurements_are(make_job: Callable[..., Job]) -> None:
    quality, latency = measure_both(make_job, {})
    busy = Flag(name="contended", detail="all rounds", invalidates=True)
    for flag, expected in ((busy, False), (busy.model_copy(update={"invalidates": False}), True)):
        contended = latency.model_copy(update={"flags": (flag,)})
        (candidate,), _ = assemble_candidates([quality, contended], DecisionSettings())
        assert (candidate.is_contended, candidate.is_done) == (True, expected)


def test_a_candidate_without_one_of_its_measurements_is_told_and_not_ranked(
    make_job: Callable[..., Job],
) -> None:
    quality, latency = measure_both(make_job, {})
    assert assemble_candidates([quality], DecisionSettings()) == (
        (),
        ("minilm-l6 × torch-fp32: no latency measurement",),
    )
    assert assemble_candidates([latency], DecisionSettings()) == (
        (),
        ("minilm-l6 × torch-fp32: no quality measurement",),
    )


def test_latencies_of_several_jobs_of_one_candidate_are_all_used(make_job: Callable[..., Job]) -> None:
    quality, small = measure_both(make_job, {})
    large = make_measurement(
        make_job(scenario=Latency(batch_sizes=(8,))), [make_latency(20.0, 2, batch_size=8)]
    )
    (candidate,), _ = assemble_candidates([quality, small, large], DecisionSettings())
    assert sorted(candidate.latency) == [1, 8]


def test_latencies_over_unlike_texts_are_not_ranked(make_job: Callable[..., Job]) -> None:
    one = measure_both(make_job, {})
    other = measure_both(make_job, {"backbone": "minilm-l3", "champion_run_id": "9" * 32})
    texts = other[1].job.model_copy(update={"inputs_digest": "0" * 64})
    candidates, _ = assemble_candidates(
        [*one, other[0], other[1].model_copy(update={"job": texts})], DecisionSettings()
    )
    with pytest.raises(CannotTellError):
        rule(candidates)


def test_a_decision_of_another_format_is_refused_with_what_to_do() -> None:
    decision = rule([make_candidate("one"), make_candidate("two")])
    assert read_decision(seal_json(decision.model_dump(mode="json")), "decision.json") == decision
    older = {**decision.model_dump(mode="json"), "format_version": 4}
    del older["metric"]
    with pytest.raises(DataError) as caught:
        read_decision(json.dumps(older).encode(), "decision.json")
    assert str(caught.value).splitlines()[0] == (
        "decision.json: found a file of format 4, without a digest; expected a file that `bakeoff decide` "
        "wrote; run it again"
    )
    with pytest.raises(DataError, match="found a file of format 4, not 7; expected a file that `bakeoff dec"):
        read_decision(seal_json(older), "decision.json")
    with pytest.raises(DataError, match="expected a file that `bakeoff decide` wrote"):
        read_decision(b"{}", "decision.json")


def test_every_changed_digit_of_a_stored_decision_is_seen() -> None:
    whole = seal_json(rule([make_candidate("one"), make_candidate("two")]).model_dump(mode="json"))
    digits = [place for place, byte in enumerate(whole) if 48 <= byte <= 57]
    source = random.Random(3)
    for place in source.choices(digits, k=300):
        changed = bytearray(whole)
        changed[place] = 48 + (changed[place] - 48 + source.randint(1, 9)) % 10
        with pytest.raises(DataError, match="expected a file that `bakeoff decide` wrote; run it again"):
            read_decision(bytes(changed), "decision.json")


def test_a_decision_whose_digest_was_removed_is_refused() -> None:
    document = rule([make_candidate("one"), make_candidate("two")]).model_dump_json().encode()
    with pytest.raises(DataError, match="found a file of format 7, without a digest"):
        read_decision(document, "decision.json")

"""Validity: which flags a measurement gets, with their figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bakeoff.core.job import Environment, Job, TimedJob
from bakeoff.core.records import Flag, HeatFacts, Measurement
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.measure.heats.records import Unmet
from bakeoff.measure.scenarios import Quality, Server
from bakeoff.measure.statistics.readings import APART, COUNTED, DIRTY, LATE, Reading
from unit.outcomes import count_entities

MakeJob = Callable[..., Job]
ENVIRONMENT = Environment.model_validate(
    {
        "hardware": {"machine": "x", "cpu_model": "y", "physical_cores": 2, "usable_cpus": 2},
        "libraries": {},
        "facts": {"hypervisor": "no", "governor": "performance"},
    }
)
N_ROUNDS = 10


def make_latency(n: int, batch_size: int = 1, **changes: Any) -> Reading:
    """Calls of five processes of which each stands apart a little, in ten rounds."""
    noise = np.random.default_rng(0).normal(0, 0.02, n)
    values: dict[str, Any] = {
        "quantity": "latency",
        "unit": "ns",
        "at": {"batch_size": batch_size},
        "values": tuple((5e6 * np.exp(noise)).tolist()),
        "repeats": tuple(i % 5 for i in range(n)),
        "columns": {
            "round": tuple(i // 5 % N_ROUNDS for i in range(n)),
            "left_out": (COUNTED,) * n,
            "calls_per_sample": (1,) * n,
        },
    }
    return Reading(**values | changes)


def with_left_out(reading: Reading, why: Callable[[int], int]) -> Reading:
    """The reading with each round counted, or left out for this reason."""
    columns = {**reading.columns, "left_out": tuple(why(number) for number in reading.columns["round"])}
    return reading.model_copy(update={"columns": columns})


REFERENCE_CALLS = make_latency(5, quantity="reference")


def make_first_call(*steady: int) -> Reading:
    return Reading(
        quantity="first_call",
        unit="ns",
        at={"batch_size": 1},
        values=(9e6,) * len(steady),
        repeats=tuple(range(len(steady))),
        columns={"warmup_ns": (10,) * len(steady), "is_steady": steady},
    )


def make_entities(hits: int, of: int = 1000) -> Reading:
    return count_entities([hits], of)


def make_heat(**changes: Any) -> HeatFacts:
    values: dict[str, Any] = {
        "heat_id": "1" * 64,
        "reference_key": "k",
        "reference": "r",
        "candidates": ("r",),
        "repeats": 5,
        "is_resident": True,
        "stopped": "targets",
        "wall_s": 1.0,
    }
    return HeatFacts(**values | changes)


def judge(
    job: Job,
    *readings: Reading,
    heat: HeatFacts | None = None,
    facts: dict[str, str] | None = None,
    has_reference: bool = True,
    **more: Any,
) -> list[Flag]:
    environment = ENVIRONMENT.model_copy(update={"facts": {**ENVIRONMENT.facts, **(facts or {})}})
    if heat is None and isinstance(job, TimedJob):
        heat = make_heat()
    beside = (REFERENCE_CALLS,) if has_reference else ()
    return list(judge_measurement(job, (*readings, *beside), environment, heat=heat, **more))


def names(flags: list[Flag]) -> list[str]:
    return [flag.label for flag in flags]


def test_a_whole_timing_has_no_flag(make_job: MakeJob) -> None:
    assert judge(make_job(), make_latency(368), make_first_call(1, 1, 1, 1, 1)) == []


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (5, ["unsupported(p50)", "unsupported(p95)", "unsupported(p99)"]),
        (6, ["unsupported(p95)", "unsupported(p99)"]),
        (71, ["unsupported(p95)", "unsupported(p99)"]),
        (72, ["unsupported(p99)"]),
        (367, ["unsupported(p99)"]),
        (368, []),
    ],
)
def test_a_percentile_without_the_samples_for_it_is_flagged(
    make_job: MakeJob, n: int, expected: list[str]
) -> None:
    assert names(judge(make_job(), make_latency(n))) == expected


def test_the_flag_tells_batch_size_and_both_counts(make_job: MakeJob) -> None:
    (flag,) = judge(make_job(), make_latency(367, batch_size=8))
    assert flag.detail == "batch size 8: 367 samples, at least 368 needed"
    assert not flag.invalidates


def test_samples_that_are_left_out_carry_no_percentile(make_job: MakeJob) -> None:
    latency = with_left_out(make_latency(400), lambda number: DIRTY if number == 0 else COUNTED)
    (flag,) = judge(make_job(), latency)
    assert flag.detail == "batch size 1: 360 samples, at least 368 needed"


def test_where_leaving_out_disturbed_rounds_changes_a_figure_both_are_told(make_job: MakeJob) -> None:
    latency = make_latency(5000)
    rounds = latency.columns["round"]
    slow = tuple(
        value * (3 if number == 0 else 1) for value, number in zip(latency.values, rounds, strict=True)
    )
    latency = with_left_out(
        latency.model_copy(update={"values": slow}), lambda number: DIRTY if number == 0 else COUNTED
    )
    (flag,) = judge(make_job(), latency)
    assert flag.name == "exclusion_matters"
    p95, p99 = (float(np.quantile(slow, p)) / 1e6 for p in (0.95, 0.99))
    assert f"p95 {p95:.3g} instead of" in flag.detail
    assert f"p99 {p99:.3g} instead of" in flag.detail
    assert "p50" not in flag.detail


def make_block_counts(throttles: int) -> Reading:
    return Reading(
        quantity="block",
        unit="ns",
        at={"batch_size": 1},
        values=(1.0, 1.0),
        repeats=(0, 0),
        columns={"throttles": (0, throttles)},
    )


@pytest.mark.parametrize(
    ("throttles", "drifts", "expected"),
    [(3, True, ["drift", "thermal"]), (0, True, ["drift"]), (3, False, [])],
)
def test_a_drift_under_which_the_processor_throttled_itself_is_thermal(
    make_job: MakeJob, throttles: int, drifts: bool, expected: list[str]
) -> None:
    calibration = tuple(
        1000.0 * (1.3 if drifts and number >= 10 else 1.0) + number % 2 for number in range(20)
    )
    flags = judge(
        make_job(),
        make_latency(368),
        make_block_counts(throttles),
        heat=make_heat(calibration_ns=calibration),
    )
    assert names(flags) == expected


@pytest.mark.parametrize(
    ("n_far", "reason", "told"),
    [
        (0, COUNTED, None),
        (1, APART, None),
        (20, APART, "one CPU to the next in 20% of the rounds: absolute figures exclude them"),
        (95, COUNTED, None),
        (80, COUNTED, "in 80% of the rounds: too few remain without them, so all count"),
    ],
)
def test_cpus_that_the_host_moved_are_told_with_what_became_of_the_rounds(
    make_job: MakeJob, n_far: int, reason: int, told: str | None
) -> None:
    core_to_core = tuple(11_200.0 if number < n_far else 4_000.0 for number in range(100))
    latency = with_left_out(make_latency(2000), lambda number: reason if number == 0 else COUNTED)
    flags = judge(make_job(), latency, heat=make_heat(core_to_core_ns=core_to_core))
    found = [flag.detail for flag in flags if flag.name == "cpus_apart"]
    assert [told in detail for detail in found] == [True] if told else not found
    assert not any(flag.invalidates for flag in flags)


def make_rate(waited: int, expected: int, load_permille: int) -> Reading:
    return Reading(
        quantity="max_rate",
        unit="per_s",
        values=(100.0,) * 5,
        repeats=tuple(range(5)),
        columns={
            "mean_wait_ns": (waited,) * 5,
            "expected_wait_ns": (expected,) * 5,
            "load_permille": (load_permille,) * 5,
        },
    )


@pytest.mark.parametrize(
    ("waited", "load_permille", "expected"),
    [
        (1_900_000, 800, []),
        (2_100_000, 800, ["queue_mismatch"]),
        (510_000, 800, []),
        (490_000, 800, ["queue_mismatch"]),
        (9_000_000, 900, []),
    ],
)
def test_waits_that_are_not_those_of_a_queue_are_flagged_where_the_load_lets_tell(
    make_job: MakeJob, waited: int, load_permille: int, expected: list[str]
) -> None:
    job = make_job(scenario=Server(limit_ms=50.0))
    assert names(judge(job, make_rate(waited, 1_000_000, load_permille))) == expected


def judge_server(
    job: Job, *readings: Reading, accepts_contention: bool = False, budget_s: float = 300.0
) -> list[Flag]:
    """As a server is judged, which is measured without a heat."""
    assert isinstance(job, TimedJob)
    job = job.model_copy(
        update={
            "scenario": Server(limit_ms=50.0),
            "protocol": job.protocol.model_copy(update={"time_budget_s": budget_s}),
        }
    )
    flags = judge_measurement(job, readings, ENVIRONMENT, accepts_contention=accepts_contention)
    return [flag for flag in flags if flag.name != "few_repeats"]


def make_rates(*values: float, **columns: tuple[int, ...]) -> Reading:
    return Reading(
        quantity="max_rate",
        unit="per_s",
        values=values,
        repeats=tuple(range(len(values))),
        columns=columns,
    )


def make_probes(*awake_ms: tuple[float, int], run_delay_ms: float = 0.0) -> Reading:
    """Trials, each with how long the server was awake and whether it was disturbed."""
    n = len(awake_ms)
    return Reading(
        quantity="probed_rate",
        unit="per_s",
        values=tuple(10.0 + number for number in range(n)),
        repeats=(0,) * n,
        columns={
            "awake_ns": tuple(round(ms * 1e6) for ms, _ in awake_ms),
            "is_disturbed": tuple(is_disturbed for _, is_disturbed in awake_ms),
            "run_delay_ns": (round(run_delay_ms * 1e6),) * n,
        },
    )


def test_a_queue_that_has_nothing_to_be_compared_with_is_no_mismatch(make_job: MakeJob) -> None:
    assert judge_server(make_job(), make_rate(0, 0, 0)) == []
    # Processes that found no rate have no wait, and do not thin out that of the others.
    columns = {"mean_wait_ns": (900, 0), "expected_wait_ns": (1000, 0), "load_permille": (700, 0)}
    found = judge_server(make_job(), make_rates(9.0, 0.0, **columns))
    assert names(found) == ["limit_not_met"]


def test_a_server_whose_warm_up_was_given_up_is_flagged(make_job: MakeJob) -> None:
    assert judge_server(make_job(), make_rates(9.0, 8.0, is_steady=(1, 1))) == []
    (flag,) = judge_server(make_job(), make_rates(9.0, 8.0, is_steady=(1, 0)))
    assert flag.name == "warmup_not_steady"
    assert flag.detail.endswith("in 1 of 2 processes")


def test_a_search_that_ran_out_of_time_is_told_with_its_share_of_the_budget(make_job: MakeJob) -> None:
    assert judge_server(make_job(), make_rates(9.0, 8.0, 7.0, is_cut_short=(0, 0, 0))) == []
    (flag,) = judge_server(make_job(), make_rates(9.0, 8.0, 7.0, is_cut_short=(0, 1, 1)), budget_s=100.0)
    assert flag.name == "search_cut_short"
    assert flag.detail.startswith("no time for the next trial in 2 of 3 processes")
    assert "20 s" in flag.detail
    assert not flag.invalidates


def test_a_limit_that_was_not_met_says_how_low_was_asked_and_whether_calls_alone_are_too_slow(
    make_job: MakeJob,
) -> None:
    probes = make_probes((1, 0), (1, 0)).model_copy(update={"values": (90.0, 30.0), "repeats": (0, 0)})
    alone = {"n_alone": (256, 256), "n_late_alone": (2, 0)}
    (flag,) = judge_server(make_job(), make_rates(0.0, 8.0, **alone), probes)
    assert flag.detail == ("no rate met 50 ms at p99 in 1 of 2 processes (lowest tried: 30 per second)")
    slow = {"n_alone": (256, 256), "n_late_alone": (200, 0)}
    (flag,) = judge_server(make_job(), make_rates(0.0, 8.0, **slow), probes)
    assert "in 1 of them a single request alone takes too long" in flag.detail
    assert "(200 of 256 calls)" in flag.detail


@pytest.mark.parametrize(
    ("disturbed_ms", "expected"),
    [(0, []), (10, []), (11, ["disturbed"]), (50, ["disturbed"]), (51, ["contended"]), (100, ["contended"])],
)
def test_a_server_is_disturbed_above_a_tenth_of_its_time_and_contended_above_a_half(
    make_job: MakeJob, disturbed_ms: int, expected: list[str]
) -> None:
    probes = make_probes((disturbed_ms, 1), (100 - disturbed_ms, 0), run_delay_ms=3)
    flags = judge_server(make_job(), make_rates(9.0), probes)
    assert names(flags) == expected
    assert [flag.invalidates for flag in flags] == [name == "contended" for name in expected]
    assert all("waited for a CPU for 6.0%" in flag.detail for flag in flags)
    accepted = judge_server(make_job(), make_rates(9.0), probes, accepts_contention=True)
    assert names(accepted) == expected
    assert not any(flag.invalidates for flag in accepted)


def test_many_disturbed_trials_that_failed_at_once_do_not_outweigh_one_whole_one(make_job: MakeJob) -> None:
    probes = make_probes(*((1, 1),) * 7, (100, 0))
    assert judge_server(make_job(), make_rates(9.0), probes) == []


def test_one_process_whose_warm_up_was_given_up_is_flagged(make_job: MakeJob) -> None:
    assert names(judge(make_job(), make_first_call(1, 1, 0, 1, 1))) == ["warmup_not_steady"]


@pytest.mark.parametrize(("repeats", "expected"), [(1, True), (4, True), (5, False), (20, False)])
def test_fewer_than_five_processes_are_flagged(make_job: MakeJob, repeats: int, expected: bool) -> None:
    flags = judge(make_job(), make_latency(368), heat=make_heat(repeats=repeats))
    assert names(flags) == (["few_repeats"] if expected else [])


@pytest.mark.parametrize(
    ("n_dirty", "expected"),
    [(0, []), (1, []), (2, ["disturbed"]), (5, ["disturbed"]), (6, ["contended"]), (10, ["contended"])],
)
def test_disturbed_rounds_warn_above_a_tenth_and_invalidate_above_a_half(
    make_job: MakeJob, n_dirty: int, expected: list[str]
) -> None:
    latency = with_left_out(make_latency(5000), lambda number: DIRTY if number < n_dirty else COUNTED)
    flags = judge(make_job(), latency)
    assert names(flags) == expected
    assert [flag.invalidates for flag in flags] == [name == "contended" for name in expected]


def test_a_busy_machine_can_be_accepted_and_is_flagged_all_the_same(make_job: MakeJob) -> None:
    latency = with_left_out(make_latency(5000), lambda _: DIRTY)
    (flag,) = judge(make_job(), latency, accepts_contention=True)
    assert (flag.name, flag.invalidates) == ("contended", False)
    assert "read the ratios only" in flag.detail


def test_rounds_before_the_steady_state_are_told(make_job: MakeJob) -> None:
    latency = with_left_out(make_latency(500), lambda number: LATE if number < 2 else COUNTED)
    assert names(judge(make_job(), latency)) == ["late_warmup"]


def test_processes_that_differ_beyond_their_noise_are_multimodal(make_job: MakeJob) -> None:
    plain = make_latency(1000)
    levels = tuple(
        value * (1.3 if g == 2 else 1) for value, g in zip(plain.values, plain.repeats, strict=True)
    )
    (flag,) = judge(make_job(), plain.model_copy(update={"values": levels}))
    assert flag.name == "multimodal"


def test_a_usual_difference_between_processes_is_not_multimodal(make_job: MakeJob) -> None:
    plain = make_latency(5000)
    levels = tuple(value * (1 + 0.02 * g) for value, g in zip(plain.values, plain.repeats, strict=True))
    assert judge(make_job(), plain.model_copy(update={"values": levels})) == []


def test_a_tail_far_above_the_middle_is_flagged(make_job: MakeJob) -> None:
    plain = make_latency(2000)
    stalled = tuple(value * (9 if number % 25 == 0 else 1) for number, value in enumerate(plain.values))
    assert names(judge(make_job(), plain.model_copy(update={"values": stalled}))) == ["heavy_tail"]


def test_calls_that_were_timed_together_are_flagged(make_job: MakeJob) -> None:
    plain = make_latency(368)
    grouped = plain.model_copy(update={"columns": {**plain.columns, "calls_per_sample": (20,) * 368}})
    assert names(judge(make_job(), grouped)) == ["batched_timing"]


def test_an_instrument_that_takes_more_than_a_hundredth_of_a_call_is_flagged(make_job: MakeJob) -> None:
    overhead = Reading(quantity="overhead", unit="ns", values=(60_000.0,) * 9, repeats=(0,) * 9)
    (flag,) = judge(make_job(), make_latency(368), overhead)
    assert (flag.name, flag.detail) == ("overhead", "batch size 1: the instrument takes 1.2% of a call")


def test_a_machine_that_changed_its_speed_is_seen_at_the_calibration_loop(make_job: MakeJob) -> None:
    noise = np.random.default_rng(1).normal(0, 0.003, 30)
    ramp = tuple((1e5 * (1 + 0.08 * np.arange(30) / 29) * np.exp(noise)).tolist())
    (flag,) = judge(make_job(), make_latency(368), heat=make_heat(calibration_ns=ramp))
    assert flag.name == "drift"
    assert "slower over the heat (trend)" in flag.detail
    steady = tuple((1e5 * np.exp(noise)).tolist())
    assert judge(make_job(), make_latency(368), heat=make_heat(calibration_ns=steady)) == []


def test_intervals_that_stayed_too_wide_are_told_with_both_widths(make_job: MakeJob) -> None:
    unmet = (
        Unmet(participant="k", variant=1, metric="p99", half_width=0.314, target=0.1),
        Unmet(participant="k", variant=8, metric="ratio", half_width=None, target=0.015),
    )
    flags = judge(make_job(), make_latency(368), heat=make_heat(unmet=unmet, stopped="budget"))
    ended = "batch size 1: the time budget ran out"
    assert [(flag.label, flag.detail) for flag in flags] == [
        (
            "ci_not_reached(p99)",
            f"{ended} at ±31.4% (target ±10.0%); about 45 more repeats (9 s) would reach it",
        ),
        ("ci_not_reached(ratio)", "batch size 8: the time budget ran out without an interval (target ±1.5%)"),
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"hypervisor": "yes"}, ["virtualised"]),
        ({"governor": "powersave"}, ["powersave"]),
        ({"freeze": "no"}, ["no_freeze"]),
    ],
)
def test_what_the_machine_says_of_itself_is_told(
    make_job: MakeJob, facts: dict[str, str], expected: list[str]
) -> None:
    assert names(judge(make_job(), make_latency(368), facts=facts)) == expected


def test_candidates_that_did_not_share_the_memory_are_told(make_job: MakeJob) -> None:
    flags = judge(make_job(), make_latency(368), heat=make_heat(is_resident=False))
    assert names(flags) == ["not_resident"]


def test_unlike_numbers_of_threads_in_one_heat_are_told_with_whose_they_are(make_job: MakeJob) -> None:
    heat = make_heat(candidates=("a × torch-fp32", "a × onnxruntime-fp32"), threads=(2, 1))
    (flag,) = judge(make_job(), make_latency(368), heat=heat)
    assert flag.name == "asym_threads"
    assert "(a × torch-fp32 2, a × onnxruntime-fp32 1)" in flag.detail
    assert not flag.invalidates
    alike = heat.model_copy(update={"threads": (2, 2)})
    assert judge(make_job(), make_latency(368), heat=alike) == []


def test_a_heat_that_lost_its_reference_at_once_says_that_there_is_no_ratio(make_job: MakeJob) -> None:
    job, latency = make_job(), make_latency(368)
    (flag,) = judge(job, latency, has_reference=False, heat=make_heat(reference="a × torch-fp32"))
    assert (flag.name, flag.invalidates) == ("no_reference", False)
    assert "a × torch-fp32 failed" in flag.detail
    assert judge(job, latency, has_reference=False, heat=make_heat(reference_key=job.key)) == []


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((9.0, 8.0), []), ((9.0, 0.0), ["limit_not_met"]), ((0.0, 0.0), ["limit_not_met"])],
)
def test_a_server_that_met_its_limit_at_no_rate_is_flagged_and_counts_as_done(
    make_job: MakeJob, rates: tuple[float, ...], expected: list[str]
) -> None:
    found = Reading(quantity="max_rate", unit="per_s", values=rates, repeats=(0, 1))
    flags = judge(make_job(scenario=Server(limit_ms=50)), found)
    assert names(flags) == expected
    assert not any(flag.invalidates for flag in flags)
    n_unmet = rates.count(0.0)
    assert all(f"50 ms at p99 in {n_unmet} of 2 processes" in flag.detail for flag in flags)


def test_what_is_not_timed_is_not_flagged_for_its_timing(make_job: MakeJob) -> None:
    job = make_job(scenario=Quality(), protocol=None, refit_metric=0.9)
    assert judge(job, make_entities(900), facts={"hypervisor": "yes"}) == []


def test_documents_that_were_cut_are_counted(make_job: MakeJob) -> None:
    (flag,) = judge(make_job(max_length=64), n_truncated=3)
    assert (flag.name, flag.detail) == ("truncated", "3 documents longer than 64 tokens")
    assert not flag.invalidates


def test_documents_that_the_model_itself_cannot_hold_are_told_as_such(make_job: MakeJob) -> None:
    (flag,) = judge(make_job(max_length=512), n_truncated=3, token_limit=64)
    assert flag.detail == "3 documents longer than 64 tokens, the maximum of this model"
    (flag,) = judge(make_job(max_length=64), n_truncated=3, token_limit=64)
    assert flag.detail == "3 documents longer than 64 tokens"


@pytest.mark.parametrize(
    ("hits", "expected"),
    [(900, []), (902, []), (898, []), (903, ["metric_not_reproduced"]), (0, ["metric_not_reproduced"])],
)
def test_a_metric_that_the_refit_did_not_log_like_this_invalidates(
    make_job: MakeJob, hits: int, expected: list[str]
) -> None:
    job = make_job(scenario=Quality(refit_tolerance=0.0025), protocol=None, refit_metric=0.9)
    flags = judge(job, make_entities(hits))
    assert names(flags) == expected
    assert all(flag.invalidates for flag in flags)


def test_a_metric_that_was_not_reproduced_is_told_with_both_numbers(make_job: MakeJob) -> None:
    job = make_job(scenario=Quality(), protocol=None, refit_metric=0.9)
    (flag,) = judge(job, make_entities(800))
    assert flag.detail == "f1 0.8000 here, 0.9000 at the refit: 0.1000 apart (limit 0.002)"


def test_a_refit_that_logged_nothing_is_flagged_and_does_not_invalidate(make_job: MakeJob) -> None:
    (flag,) = judge(make_job(scenario=Quality(), protocol=None), make_entities(800))
    assert (flag.name, flag.invalidates) == ("no_refit_metric", False)


@pytest.mark.parametrize("metric", ["macro-f1", "eval_f1", "accuracy", "eval_loss"])
def test_a_metric_of_another_name_is_not_compared_with_entity_f1(make_job: MakeJob, metric: str) -> None:
    job = make_job(scenario=Quality(), protocol=None, refit_metric=0.1, metric_name=metric)
    (flag,) = judge(job, make_entities(800))
    assert (flag.name, flag.invalidates) == ("no_refit_metric", False)
    assert metric in flag.detail


@pytest.mark.parametrize(
    ("flags", "is_valid", "validity"),
    [
        ([], True, "valid"),
        ([("contended", False)], True, "valid"),
        ([("contended", False), ("metric_not_reproduced", True)], False, "metric_not_reproduced"),
        ([("a", True), ("b", True)], False, "a, b"),
    ],
)
def test_a_measurement_is_valid_unless_a_flag_invalidates_it(
    make_job: MakeJob,
    make_environment: Callable[..., Environment],
    flags: list[tuple[str, bool]],
    is_valid: bool,
    validity: str,
) -> None:
    values: dict[str, Any] = {"attempt": 1, "measured_at": "", "wall_s": 1.0, "timed_s": 1.0}
    measurement = Measurement(
        job=make_job(),
        environment=make_environment(),
        readings=(make_latency(6),),
        flags=tuple(Flag(name=name, detail="", invalidates=spoils) for name, spoils in flags),
        **values,
    )
    assert (measurement.is_valid, measurement.validity) == (is_valid, validity)
    assert measurement.reading("latency", batch_size=1) == make_latency(6)
    assert measurement.reading("latency", batch_size=2) is None
    assert Measurement.model_validate_json(measurement.model_dump_json()) == measurement


# --- a CPU quota -----------------------------------------------------------------------------------------


def make_quota_blocks(throttled_ms: float) -> Reading:
    """Two blocks of 50 ms; the quota stopped the second."""
    return Reading(
        quantity="block",
        unit="ns",
        at={"batch_size": 1},
        values=(5e7, 5e7),
        repeats=(0, 1),
        columns={
            "block_ns": (50_000_000, 50_000_000),
            "quota_stops": (0, 3),
            "throttled_ns": (0, round(throttled_ms * 1e6)),
        },
    )


@pytest.mark.parametrize(
    ("throttled_ms", "is_flagged"), [(0.0, False), (1.0, False), (1.1, True), (50.0, True)]
)
def test_times_that_hold_pauses_by_a_quota_say_so_and_count(
    make_job: MakeJob, throttled_ms: float, is_flagged: bool
) -> None:
    found = judge(make_job(), make_latency(368), make_quota_blocks(throttled_ms))
    assert names(found) == ["throttled"] * is_flagged
    assert not any(flag.invalidates for flag in found)
    if throttled_ms == 50:
        assert found[0].detail.startswith("its CPU quota stopped the process 3 times, for 50.0% of the time")


def test_a_server_that_its_quota_stopped_says_so(make_job: MakeJob) -> None:
    probes = make_probes((50, 0), (50, 0))
    columns = {**probes.columns, "quota_stops": (1, 1), "throttled_ns": (0, 2_000_000)}
    (flag,) = judge_server(make_job(), make_rates(9.0), probes.replace(columns=columns))
    assert flag.name == "throttled"
    assert "2 times, for 2.0% of the time" in flag.detail

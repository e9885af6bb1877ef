"""Validity: which flags a measurement gets, with their figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bakeoff.core.records import Environment, Flag, Job, Measurement
from bakeoff.core.validity import judge_measurement
from bakeoff.measure.protocol import TimingProtocol
from bakeoff.measure.readings import Reading
from bakeoff.measure.scenarios import Quality

MakeJob = Callable[..., Job]


def make_latency(n: int, batch_size: int = 1) -> Reading:
    return Reading(
        quantity="latency",
        unit="ns",
        at={"batch_size": batch_size},
        values=(5e6,) * n,
        generations=tuple(i % 5 for i in range(n)),
    )


def make_first_call(*steady: int) -> Reading:
    return Reading(
        quantity="first_call",
        unit="ns",
        at={"batch_size": 1},
        values=(9e6,) * len(steady),
        generations=tuple(range(len(steady))),
        columns={"warmup_ns": (10,) * len(steady), "is_steady": steady},
    )


def make_entities(hits: int, of: int = 1000) -> Reading:
    return Reading(
        quantity="entities",
        unit="count",
        values=(float(hits),),
        generations=(0,),
        columns={"predicted": (of,), "actual": (of,)},
    )


def judge(job: Job, *readings: Reading, n_truncated: int = 0, run_delay_share: float = 0.0) -> list[Flag]:
    return list(judge_measurement(job, readings, n_truncated=n_truncated, run_delay_share=run_delay_share))


def names(flags: list[Flag]) -> list[str]:
    return [flag.name for flag in flags]


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
    assert flag.detail == "batch size 8: 367 samples, 368 are needed"
    assert not flag.invalidates


def test_one_process_whose_warm_up_was_given_up_is_flagged(make_job: MakeJob) -> None:
    assert names(judge(make_job(), make_first_call(1, 1, 0, 1, 1))) == ["warmup_not_steady"]


@pytest.mark.parametrize(("generations", "expected"), [(1, True), (4, True), (5, False), (20, False)])
def test_fewer_than_five_processes_are_flagged(make_job: MakeJob, generations: int, expected: bool) -> None:
    flags = judge(make_job(protocol=TimingProtocol(generations=generations)), make_latency(368))
    assert names(flags) == (["few_generations"] if expected else [])


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (0.02, False), (0.0201, True), (0.9, True)])
def test_waiting_for_a_cpu_for_more_than_two_per_cent_is_flagged(
    make_job: MakeJob, share: float, expected: bool
) -> None:
    flags = judge(make_job(), make_latency(368), run_delay_share=share)
    assert names(flags) == (["contended"] if expected else [])


def test_what_is_not_timed_is_not_flagged_for_its_timing(make_job: MakeJob) -> None:
    job = make_job(scenario=Quality(), protocol=None, refit_metric=0.9)
    assert judge(job, make_entities(900), run_delay_share=0.9) == []


def test_documents_that_were_cut_are_counted(make_job: MakeJob) -> None:
    (flag,) = judge(make_job(max_length=64), n_truncated=3)
    assert (flag.name, flag.detail) == ("truncated", "3 documents longer than 64 tokens")
    assert not flag.invalidates


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

"""The plan: what runs, what is reused, and the exact words that say why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.job import Hardware, Job
from bakeoff.core.plan.existing import ExistingBenchmark, agrees, find_differences, find_nearest
from bakeoff.core.plan.jobs import (
    Plan,
    PlannedJob,
    explain_job,
    find_planned,
    plan_jobs,
)
from bakeoff.core.records import Champion
from bakeoff.core.run_mode import RunMode
from bakeoff.errors import JobNotFoundError
from bakeoff.measure.backends import Noop, OnnxRuntime, Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency, Quality
from unit.models import ask, model_of

REUSE, FORCE, RESUME = RunMode.REUSE_IF_EXISTS, RunMode.FORCE_NEW, RunMode.RESUME_IF_INCOMPLETE
MakeJob = Callable[..., Job]
STATES = ("valid", "invalid", "failed", "deleted")


def existing(job: Job, **changes: Any) -> ExistingBenchmark:
    """A valid benchmark of a job, in the tracking store."""
    values: dict[str, Any] = {
        "key": job.key,
        "champion_run_id": job.champion_run_id,
        "parts": job.parts,
        "state": "valid",
        "measured_at": "2026-01-02T03:04:05Z",
        "run_id": "b" * 32,
    }
    return ExistingBenchmark(**values | changes)


def plan_one(
    job: Job, *benchmarks: ExistingBenchmark, mode: RunMode = REUSE, attempts: int = 3
) -> PlannedJob:
    (planned,) = plan_jobs(ask([job]), benchmarks, mode, attempts).jobs
    return planned


def outcome(planned: PlannedJob) -> tuple[str, str, int]:
    return planned.action, planned.reason, planned.attempt


def make_champion(run_id: str) -> Champion:
    return Champion(
        backbone="minilm-l6",
        run_id=run_id,
        trial_run_id="7" * 32,
        refit_run_id=run_id,
        sweep_run_id="5" * 32,
        study_key_hash="1" * 64,
        trial_key_hash="2" * 64,
        metric=0.9,
        metric_name="f1",
        stable_score=0.9,
        fold_metrics=(),
        schema_version="2.0",
        data_fingerprint="d" * 64,
        eval_fingerprint="e" * 64,
        experiment_id="1",
        experiment_name="sweep",
    )


# --- reuse ------------------------------------------------------------------------------------------------


def test_a_valid_benchmark_of_the_same_key_is_reused(make_job: MakeJob) -> None:
    planned = plan_one(make_job(), existing(make_job(), attempt=2))
    assert outcome(planned) == ("reuse", f"measured 2026-01-02T03:04:05Z, run {'b' * 32}", 2)
    assert planned.run_id == "b" * 32


def test_what_only_the_disk_has_is_logged_and_not_measured_again(make_job: MakeJob) -> None:
    planned = plan_one(make_job(), existing(make_job(), run_id=None, on_disk=True))
    assert outcome(planned) == ("log", "measured 2026-01-02T03:04:05Z, not yet in the tracking store", 1)
    assert planned.run_id is None


def test_what_disk_and_store_both_have_is_reused(make_job: MakeJob) -> None:
    job = make_job()
    on_disk, logged = existing(job, run_id=None, on_disk=True), existing(job)
    for order in ((on_disk, logged), (logged, on_disk)):
        assert plan_one(job, *order).action == "reuse"


def test_of_several_valid_benchmarks_the_latest_attempt_is_reused(make_job: MakeJob) -> None:
    job = make_job()
    old, new = existing(job, attempt=1, run_id="1" * 32), existing(job, attempt=2, run_id="2" * 32)
    for order in ((old, new), (new, old)):
        assert plan_one(job, *order).run_id == "2" * 32


def test_a_valid_benchmark_counts_even_if_later_attempts_broke(make_job: MakeJob) -> None:
    job = make_job()
    broken = [
        existing(job, state="failed", attempt=n, reason="timeout", run_id=f"{n:032x}") for n in (2, 3, 4)
    ]
    assert plan_one(job, existing(job, attempt=1), *broken).action == "reuse"


def test_a_whole_benchmark_is_reused_under_resume_too(make_job: MakeJob) -> None:
    assert plan_one(make_job(), existing(make_job()), mode=RESUME).action == "reuse"


# --- measure: why -----------------------------------------------------------------------------------------


def test_a_champion_without_benchmarks_is_new(make_job: MakeJob) -> None:
    other = make_job(champion_run_id="9" * 32)
    assert outcome(plan_one(make_job(), existing(other))) == ("measure", "new champion", 1)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"scenario": Latency(batch_sizes=(1, 4))}, "config changed: batch_sizes ([1,8] → [1,4])"),
    ({"protocol": TimingProtocol(rounds=20)}, "config changed: rounds (10 → 20)"),
    ({"protocol": TimingProtocol(seed=1)}, "config changed: seed (0 → 1)"),
    ({"max_length": 64}, "config changed: max_length (128 → 64)"),
    ({"runtime": Torch(threads=1)}, "config changed: threads (2 → 1)"),
    ({"runtime": Torch(threads=None)}, "config changed: threads (2 → null)"),
    ({"runtime": Torch(threads=2, device="cuda")}, 'config changed: device ("cpu" → "cuda")'),
    ({"runtime": OnnxRuntime(threads=2)}, "new runtime: onnxruntime-fp32"),
    ({"runtime": Noop(threads=1)}, "new runtime: noop"),
    ({"scenario": Quality(), "protocol": None}, "new scenario: quality"),
    ({"data_fingerprint": "0" * 64}, "other training data"),
    ({"eval_fingerprint": "0" * 64}, "other evaluation"),
    ({"inputs_digest": "0" * 64}, "other input texts"),
    ({"checkpoint_digest": "0" * 64}, "other checkpoint"),
    (
        {"max_length": 64, "protocol": TimingProtocol(rounds=20)},
        "config changed: max_length (128 → 64); config changed: rounds (10 → 20)",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), CHANGES)
def test_the_reason_says_which_part_differs(make_job: MakeJob, changes: dict[str, Any], reason: str) -> None:
    planned = plan_one(make_job(**changes), existing(make_job()))
    assert outcome(planned) == ("measure", reason, 1)


@pytest.mark.parametrize(
    "changes", [{"cpu_model": "B"}, {"usable_cpus": 1, "physical_cores": 1}, {"accelerators": ("gpu",)}]
)
def test_other_hardware_is_told_once(
    make_job: MakeJob, make_hardware: Callable[..., Hardware], changes: dict[str, Any]
) -> None:
    planned = plan_one(make_job(hardware=make_hardware(**changes)), existing(make_job()))
    assert outcome(planned) == ("measure", "other hardware", 1)


def test_the_difference_is_told_from_the_nearest_benchmark(
    make_job: MakeJob, make_hardware: Callable[..., Hardware]
) -> None:
    job = make_job(scenario=Latency(batch_sizes=(1, 4)))
    far = existing(
        make_job(hardware=make_hardware(cpu_model="B"), max_length=64, inputs_digest="0" * 64),
        run_id="1" * 32,
    )
    near = existing(make_job())
    for order in ((far, near), (near, far)):
        assert plan_one(job, *order).reason == "config changed: batch_sizes ([1,8] → [1,4])"
        assert find_nearest(job, order) == near


def test_another_scenario_of_the_champion_does_not_hide_the_runtime_that_is_new(make_job: MakeJob) -> None:
    quality = make_job(
        scenario=Quality(), protocol=None, runtime=OnnxRuntime(threads=2), inputs_digest="6" * 64
    )
    planned = plan_one(make_job(runtime=OnnxRuntime(threads=2)), existing(quality), existing(make_job()))
    assert planned.reason == "new runtime: onnxruntime-fp32"


def test_a_benchmark_of_another_champion_explains_nothing(make_job: MakeJob) -> None:
    job = make_job(max_length=64)
    stranger = existing(make_job(champion_run_id="9" * 32, max_length=64))
    mine = existing(make_job())
    assert find_nearest(job, [stranger, mine]) == mine


def test_a_benchmark_that_left_no_parts_explains_nothing(make_job: MakeJob) -> None:
    assert find_nearest(make_job(), [existing(make_job(max_length=64), parts={})]) is None


def test_parts_that_only_one_side_has_are_differences() -> None:
    assert find_differences({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == {
        "a": (None, "1"),
        "c": ("3", None),
    }


def test_a_part_that_an_older_writer_did_not_have_is_told_as_unset(make_job: MakeJob) -> None:
    job = make_job()
    older = {name: value for name, value in job.parts.items() if name != "protocol.min_calls"}
    planned = plan_one(job, existing(job, key="older", parts=older))
    assert planned.reason == "config changed: min_calls (unset → 5)"


# --- failed and invalid attempts --------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["invalid", "failed"])
def test_a_failed_attempt_is_tried_again_with_its_reason(make_job: MakeJob, state: str) -> None:
    job = make_job()
    planned = plan_one(job, existing(job, state=state, reason="contention"))
    assert outcome(planned) == ("measure", f"earlier attempt {state}: contention", 2)


def test_the_last_failed_attempt_gives_the_reason(make_job: MakeJob) -> None:
    job = make_job()
    first = existing(job, state="failed", attempt=1, reason="timeout")
    second = existing(job, state="invalid", attempt=2, reason="metric_not_reproduced")
    for order in ((first, second), (second, first)):
        planned = plan_one(job, *order)
        assert outcome(planned) == ("measure", "earlier attempt invalid: metric_not_reproduced", 3)


def test_a_job_is_left_when_its_attempts_are_used_up(make_job: MakeJob) -> None:
    job = make_job()
    failed = [existing(job, state="failed", attempt=n, reason=f"timeout {n}") for n in (1, 2, 3)]
    planned = plan_one(job, *failed)
    assert outcome(planned) == ("leave", "3 of 3 attempts are used up; the last was failed: timeout 3", 3)
    assert planned.last_reason == "timeout 3"


def test_one_attempt_that_disk_and_store_both_know_counts_once(make_job: MakeJob) -> None:
    job = make_job()
    logged = existing(job, state="failed", attempt=1, reason="timeout")
    on_disk = existing(job, state="failed", attempt=1, reason="timeout", run_id=None, on_disk=True)
    planned = plan_one(job, logged, on_disk, attempts=2)
    assert (planned.action, planned.attempt) == ("measure", 2)


def test_attempts_under_another_key_do_not_count(make_job: MakeJob) -> None:
    other = make_job(max_length=64)
    failed = [existing(other, state="failed", attempt=n, reason="timeout") for n in (1, 2, 3)]
    assert outcome(plan_one(make_job(), *failed)) == ("measure", "config changed: max_length (64 → 128)", 1)


# --- deleted runs -----------------------------------------------------------------------------------------


def test_what_was_deleted_in_the_store_is_measured_again_and_the_copy_keeps_its_number(
    make_job: MakeJob,
) -> None:
    deleted = existing(make_job(), state="deleted", reason="its run b was deleted", on_disk=True)
    assert outcome(plan_one(make_job(), deleted)) == ("measure", "its run b was deleted", 2)


def test_a_deleted_attempt_uses_up_none_of_the_attempts(make_job: MakeJob) -> None:
    job = make_job()
    deleted = [existing(job, state="deleted", attempt=n, reason="its run was deleted") for n in (1, 2)]
    planned = plan_one(job, *deleted, existing(job, state="failed", attempt=3, reason="timeout"), attempts=2)
    assert outcome(planned) == ("measure", "earlier attempt failed: timeout", 4)


def test_a_deleted_attempt_hides_no_valid_one(make_job: MakeJob) -> None:
    job = make_job()
    deleted = existing(job, state="deleted", attempt=2, reason="its run was deleted")
    assert plan_one(job, deleted, existing(job, attempt=1)).action == "reuse"


# --- run modes --------------------------------------------------------------------------------------------


def test_force_new_measures_what_exists_again(make_job: MakeJob) -> None:
    planned = plan_one(make_job(), existing(make_job(), attempt=4), mode=FORCE)
    assert outcome(planned) == ("measure", "run.mode is force_new", 5)


def test_force_new_measures_a_job_whose_attempts_are_used_up(make_job: MakeJob) -> None:
    job = make_job()
    failed = [existing(job, state="failed", attempt=n, reason="timeout") for n in (1, 2, 3)]
    assert outcome(plan_one(job, *failed, mode=FORCE)) == ("measure", "run.mode is force_new", 4)


def test_resume_leaves_a_champion_of_which_nothing_was_begun(make_job: MakeJob) -> None:
    planned = plan_one(make_job(), mode=RESUME)
    reason = "run.mode is resume_if_incomplete, and no job of this champion was begun"
    assert outcome(planned) == ("leave", reason, 0)


def test_resume_measures_what_is_missing_of_a_champion_that_was_begun(make_job: MakeJob) -> None:
    quality, latency = make_job(scenario=Quality(), protocol=None), make_job()
    plan = plan_jobs(ask([quality, latency]), [existing(quality)], RESUME, 3)
    assert [outcome(planned)[:2] for planned in plan.jobs] == [
        ("reuse", f"measured 2026-01-02T03:04:05Z, run {'b' * 32}"),
        ("measure", "new scenario: latency"),
    ]


def test_resume_starts_nothing_where_only_other_settings_were_measured(make_job: MakeJob) -> None:
    planned = plan_one(make_job(max_length=64), existing(make_job()), mode=RESUME)
    assert planned.action == "leave"


def test_resume_finishes_a_job_of_which_a_part_is_measured(make_job: MakeJob) -> None:
    job, other = make_job(), make_job(champion_run_id="9" * 32)
    plan = plan_jobs(ask([job, other]), [], RESUME, 3, interrupted=[job.key_digest])
    assert [planned.action for planned in plan.jobs] == ["measure", "leave"]


def test_resume_does_not_measure_again_what_was_deleted(make_job: MakeJob) -> None:
    deleted = existing(make_job(), state="deleted", reason="its run b was deleted")
    assert plan_one(make_job(), deleted, mode=RESUME).action == "leave"


def test_resume_tries_a_failed_attempt_again(make_job: MakeJob) -> None:
    job = make_job()
    planned = plan_one(job, existing(job, state="failed", reason="timeout"), mode=RESUME)
    assert planned.action == "measure"


# --- matching is by key and nothing else ------------------------------------------------------------------


@pytest.mark.parametrize("changes", [change for change, _ in CHANGES])
@pytest.mark.parametrize(("mode", "action"), [(REUSE, "measure"), (RESUME, "leave")])
def test_a_benchmark_with_a_different_key_is_never_a_match(
    make_job: MakeJob, changes: dict[str, Any], mode: RunMode, action: str
) -> None:
    assert plan_one(make_job(**changes), existing(make_job()), mode=mode).action == action


def test_equal_parts_under_a_different_key_are_no_match(make_job: MakeJob) -> None:
    job = make_job()
    assert plan_one(job, existing(job, key=job.key[:-1] + "?")).action == "measure"


def test_the_run_mode_alone_changes_no_key_and_no_match(make_job: MakeJob) -> None:
    job = make_job()
    plans = [plan_one(job, existing(job), mode=mode) for mode in RunMode]
    assert {planned.job.key for planned in plans} == {job.key}
    assert [planned.action for planned in plans] == ["reuse", "measure", "reuse"]


# --- runs without a key -----------------------------------------------------------------------------------


def recorded(job: Job, **changes: str) -> dict[str, str]:
    names = ("runtime.kind", "runtime.device", "scenario.batch_sizes")
    return {name: job.parts[name] for name in names} | changes


def test_a_run_without_key_is_reused_without_readings(make_job: MakeJob) -> None:
    job = make_job()
    planned = plan_one(job, existing(job, key=None, parts=recorded(job)))
    assert (planned.action, planned.run_id, planned.has_readings) == ("reuse", "b" * 32, False)


def test_a_run_with_the_key_comes_before_one_without(make_job: MakeJob) -> None:
    job = make_job()
    older = existing(job, key=None, parts=recorded(job), attempt=9, run_id="9" * 32)
    for order in ((older, existing(job)), (existing(job), older)):
        planned = plan_one(job, *order)
        assert (planned.run_id, planned.has_readings) == ("b" * 32, True)


def test_a_run_without_key_of_another_champion_is_no_match(make_job: MakeJob) -> None:
    job = make_job()
    stranger = existing(job, key=None, champion_run_id="9" * 32, parts=recorded(job))
    assert plan_one(job, stranger).action == "measure"


@settings(max_examples=100)
@given(data=st.data())
def test_what_an_older_writer_recorded_agrees_only_if_every_part_does(
    make_job: MakeJob, data: st.DataObject
) -> None:
    job = make_job()
    names = data.draw(st.sets(st.sampled_from(sorted(job.parts)))) | set(recorded(job))
    parts = {name: job.parts[name] for name in names}
    assert agrees(parts, job)
    broken = data.draw(st.sampled_from(sorted(names)))
    assert not agrees(parts | {broken: "something else"}, job)
    missing = data.draw(st.sampled_from(sorted(recorded(job))))
    assert not agrees({name: parts[name] for name in names - {missing}}, job)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "torch"),
        ("runtime", "torch-fp32"),
        ("benchmark_batch_sizes", "[1, 8]"),
        ("device", "cpu"),
        ("config.max_length", "128"),
        ("rounds", "10"),
        ("cpu_model", "Example CPU"),
    ],
)
def test_older_names_and_spellings_are_understood(make_job: MakeJob, name: str, value: str) -> None:
    job = make_job()
    assert agrees(recorded(job) | {name: value}, job)
    assert not agrees(recorded(job) | {name: f"{value}0"}, job)


@pytest.mark.parametrize("name", ["kind", "iterations", "backbone", "", "runtime."])
def test_a_recorded_part_without_counterpart_does_not_agree(make_job: MakeJob, name: str) -> None:
    job = make_job()
    assert not agrees(recorded(job) | {name: "1"}, job)


# --- one job, explained -----------------------------------------------------------------------------------


@pytest.fixture
def two(make_job: MakeJob) -> Plan:
    return plan_jobs(ask([make_job(), make_job(scenario=Quality(), protocol=None)]), [], REUSE, 3)


def test_a_job_is_found_by_label_key_digest_or_their_beginning(two: Plan) -> None:
    for planned in two.jobs:
        job = planned.job
        for text in (job.label, job.key, job.key_digest, job.key_digest[:12], job.key[:-50]):
            assert find_planned(two, text) == planned


@pytest.mark.parametrize("text", ["c" * 32, "c"])
def test_a_beginning_that_several_jobs_share_is_refused_with_the_candidates(two: Plan, text: str) -> None:
    with pytest.raises(JobNotFoundError, match="several jobs match") as caught:
        find_planned(two, text)
    assert caught.value.candidates == tuple(
        f"{planned.job.key_digest[:12]}  {planned.job.label}" for planned in two.jobs
    )


@pytest.mark.parametrize("text", ["nothing", "", "minilm-l6"])
def test_an_unknown_job_is_refused_with_all_candidates(two: Plan, text: str) -> None:
    with pytest.raises(JobNotFoundError, match="no job has this key or label") as caught:
        find_planned(two, text)
    assert len(caught.value.candidates) == 2
    assert two.jobs[0].job.label in str(caught.value)


def test_jobs_of_one_label_are_told_apart_by_their_digests(make_job: MakeJob) -> None:
    plan = plan_jobs(ask([make_job(), make_job(runtime=Torch(threads=1))]), [], REUSE, 3)
    with pytest.raises(JobNotFoundError, match="several jobs match"):
        find_planned(plan, plan.jobs[0].job.label)
    assert find_planned(plan, plan.jobs[1].job.key_digest[:12]) == plan.jobs[1]


def test_an_explanation_names_the_nearest_benchmark_and_every_part_found_and_wanted(
    make_job: MakeJob,
) -> None:
    job, nearest = make_job(max_length=64), existing(make_job())
    explanation = explain_job(plan_one(job, nearest), [nearest])
    assert explanation.nearest == nearest
    assert {part.name: part.wanted for part in explanation.parts} == job.parts
    assert [(part.name, part.found, part.wanted) for part in explanation.parts if not part.is_same] == [
        ("max_length", "128", "64")
    ]


def test_an_explanation_of_a_new_champion_has_nothing_found(make_job: MakeJob) -> None:
    explanation = explain_job(plan_one(make_job()), [])
    assert explanation.nearest is None
    assert {part.found for part in explanation.parts} == {None}


def test_an_explanation_shows_parts_that_only_the_benchmark_has(make_job: MakeJob) -> None:
    job = make_job()
    other = existing(job, key="other", parts=job.parts | {"protocol.new": "1"})
    last = explain_job(plan_one(job, other), [other]).parts[-1]
    assert (last.name, last.found, last.wanted) == ("protocol.new", "1", None)


# --- the whole plan ---------------------------------------------------------------------------------------


def test_a_plan_keeps_the_order_of_the_jobs_and_sorts_them_by_what_is_to_be_done(make_job: MakeJob) -> None:
    jobs = [make_job(champion_run_id=letter * 32) for letter in "abcd"]
    failed = [existing(jobs[3], state="failed", attempt=n, reason="oom") for n in (1, 2, 3)]
    plan = plan_jobs(ask(jobs), [existing(jobs[1]), existing(jobs[2], run_id=None), *failed], REUSE, 3)
    assert [planned.action for planned in plan.jobs] == ["measure", "reuse", "log", "leave"]
    assert [planned.job for planned in plan.jobs] == jobs
    assert plan.todo == plan.jobs[:1]
    assert plan.reused == plan.jobs[1:3]
    assert plan.left == plan.jobs[3:]


def test_champions_with_anything_left_to_measure_are_the_missing_ones(make_job: MakeJob) -> None:
    jobs = [
        make_job(champion_run_id=letter * 32, **scenario)
        for letter in "abc"
        for scenario in ({}, {"scenario": Quality(), "protocol": None})
    ]
    done = [existing(jobs[0]), existing(jobs[1]), existing(jobs[2])]
    plan = plan_jobs(ask(jobs), done, REUSE, 3)
    models = [model_of(job) for job in jobs[::2]]
    assert list(plan.models) == models
    assert list(plan.models_to_measure) == models[1:]
    assert list(plan_jobs(ask(jobs), done, FORCE, 3).models_to_measure) == models
    assert Plan(jobs=()).models_to_measure == ()


@settings(max_examples=100)
@given(data=st.data(), mode=st.sampled_from(RunMode), attempts=st.integers(1, 3))
def test_the_order_of_the_benchmarks_changes_no_plan(
    make_job: MakeJob, data: st.DataObject, mode: RunMode, attempts: int
) -> None:
    jobs = [make_job(), make_job(max_length=64), make_job(champion_run_id="9" * 32)]
    facts = st.tuples(st.sampled_from(jobs), st.sampled_from(STATES), st.sampled_from([None, "run"]))
    benchmarks = [
        existing(job, state=state, attempt=n + 1, reason=f"reason {n}", run_id=run and f"{run}{n}")
        for n, (job, state, run) in enumerate(data.draw(st.lists(facts, max_size=6)))
    ]
    shuffled = data.draw(st.permutations(benchmarks))
    assert plan_jobs(ask(jobs), benchmarks, mode, attempts) == plan_jobs(ask(jobs), shuffled, mode, attempts)


@settings(max_examples=100)
@given(data=st.data())
def test_nothing_is_reused_but_a_valid_benchmark_of_the_very_key(
    make_job: MakeJob, data: st.DataObject
) -> None:
    jobs = [make_job(), make_job(max_length=64), make_job(champion_run_id="9" * 32)]
    states = st.sampled_from(STATES)
    benchmarks = [
        existing(job, state=state)
        for job, state in data.draw(st.lists(st.tuples(st.sampled_from(jobs), states)))
    ]
    wanted = data.draw(st.sampled_from(jobs))
    planned = plan_one(wanted, *benchmarks)
    has_valid = any(benchmark.key == wanted.key and benchmark.state == "valid" for benchmark in benchmarks)
    assert (planned.action == "reuse") == has_valid

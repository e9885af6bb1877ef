"""Two machines with one store: the work is shared, the dead are taken over, one result of a key counts."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from bakeoff.core.records import Measurement
from bakeoff.orchestrator import Project, bench, decide, open_project, plan
from bakeoff.orchestrator.checkpoints import find_champions
from bakeoff.orchestrator.plan import find_existing
from bakeoff.run.machine import lock as machine_lock
from bakeoff.stores import tags
from bakeoff.stores.tracking import create_client
from duels import N_KEYS, Machine, count_results, make_machines
from storms import kill_benches

ONE_KEY = "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]"


@pytest.fixture
def machines(shipped: Path, tmp_path: Path) -> list[Machine]:
    """Two machines with one store, in which a champion stands, and nothing of ours is measured."""
    return make_machines(shipped, tmp_path / "machines")


def open_one(where: Machine, *overrides: str, is_offline: bool = False) -> Project:
    return open_project(
        where.folder / "config", (*where.overrides, ONE_KEY, *overrides), is_offline=is_offline
    )


def on(where: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play one of the machines from here on."""
    monkeypatch.setenv(machine_lock.LOCK_VARIABLE, str(where.lock))


def states(project: Project) -> Counter[str]:
    existing = find_existing(project, find_champions(project))
    keys = {planned.job.key for planned in plan(project).jobs}
    return Counter(each.state for each in existing if each.key in keys and not each.on_disk)


@pytest.mark.slow
def test_two_machines_share_the_jobs_and_each_key_is_measured_once(machines: list[Machine]) -> None:
    benches = [each.start() for each in machines]
    for process in benches:
        process.join(300)
    assert [process.exitcode for process in benches] == [0, 0]
    assert count_results(machines) == (0, 0)
    work = [{path.parent.name for path in each.folder.glob("results/jobs/*/*.json")} for each in machines]
    assert [len(keys) for keys in work] == [N_KEYS, N_KEYS]
    project = machines[0].open()
    experiment_id = project.tracker.find_experiment("benchmark") or ""
    keys = {planned.job.key for planned in plan(project).jobs}
    runs = [
        run.data.tags[tags.BENCHMARK_KEY]
        for run in project.tracker.search_runs(experiment_id, {tags.STAGE: "benchmark"})
    ]
    assert Counter(key for key in runs if key in keys) == Counter(keys)


@pytest.mark.slow
def test_a_key_that_another_machine_measures_is_waited_for_and_its_result_fetched(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = machines
    on(theirs, monkeypatch)
    other = open_one(theirs)
    (planned,) = plan(other).jobs
    with machine_lock.measuring(print):
        other.claims.claim(planned.job.key_digest, 1)

    def publish_when_we_wait() -> None:
        while not any("waiting for 1 job of" in line for line in caplog.messages):
            other.claims.beat()
            time.sleep(0.05)
        assert len(bench(other).measured) == 1

    thread = threading.Thread(target=publish_when_we_wait)
    on(ours, monkeypatch)
    mine = open_one(ours)
    thread.start()
    result = bench(mine)
    thread.join()
    assert (result.measured, [each.action for each in result.plan.jobs]) == ((), ["reuse"])
    assert any("skipped for now, while " in line and "since 2" in line for line in caplog.messages)
    assert mine.results.load_valid(planned.job) == other.results.load_valid(planned.job)


@pytest.mark.slow
def test_what_a_dead_machine_had_claimed_is_taken_over_after_its_silence(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = machines
    on(theirs, monkeypatch)
    dead = open_one(theirs, "tracking.claim_expiry_s=2")
    (planned,) = plan(dead).jobs
    with machine_lock.measuring(print):
        dead.claims.claim(planned.job.key_digest, 1)
    on(ours, monkeypatch)
    result = bench(open_one(ours, "tracking.claim_expiry_s=1"))
    assert [attempt.attempt for attempt in result.measured] == [1]


def measure_late(machines: list[Machine], monkeypatch: pytest.MonkeyPatch) -> tuple[Measurement, Measurement]:
    """They measure offline, and we are quicker with the store; from here on it is their turn.

    Returns:
        The one that comes late, and the one that counts.
    """
    ours, theirs = machines
    on(theirs, monkeypatch)
    plan(open_one(theirs))
    (late,) = bench(open_one(theirs, is_offline=True)).measured
    on(ours, monkeypatch)
    (first,) = bench(open_one(ours)).measured
    on(theirs, monkeypatch)
    return late, first


def test_a_result_that_comes_late_is_kept_and_does_not_count(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = machines
    late, first = measure_late(machines, monkeypatch)
    result = bench(open_one(theirs))
    assert (result.measured, result.unlogged) == ((), 0)
    assert states(open_one(theirs)) == {"valid": 1, "superseded": 1}
    counting = open_one(theirs).results.load_valid(first.job)
    assert counting == first
    assert counting != late
    aside = theirs.folder / "results" / "jobs" / first.job.key_digest / "superseded"
    assert sorted(path.suffix for path in aside.iterdir()) == [".json", ".logged", ".npz"]
    assert bench(open_one(theirs)).measured == bench(open_one(ours)).measured == ()


@pytest.mark.parametrize("hours", [-6, 6])
def test_what_counts_is_what_was_published_first_however_wrong_a_clock_dates_the_runs(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    ours, theirs = machines
    late, first = measure_late(machines, monkeypatch)
    true_time = time.time
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: true_time() + hours * 3600)
        assert bench(open_one(theirs)).unlogged == 0
    started_ms = {
        run.data.tags[tags.VALIDITY]: run.info.start_time
        for run in open_one(ours).tracker.search_runs(
            open_one(ours).tracker.find_experiment("benchmark") or "", {tags.BENCHMARK_KEY: first.job.key}
        )
    }
    assert abs(started_ms["superseded"] - started_ms["valid"] - hours * 3_600_000) < 3_600_000
    for where in machines:
        assert states(open_one(where)) == {"valid": 1, "superseded": 1}
        assert bench(open_one(where)).measured == ()
        assert open_one(where).results.load_valid(first.job) == first != late


@pytest.mark.slow
def test_two_machines_that_measured_the_same_agree_on_the_decision(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = []
    for each in machines:
        on(each, monkeypatch)
        quality = "benchmark.scenarios=[{kind: quality}, {kind: latency, batch_sizes: [1]}]"
        runtimes = "benchmark.runtimes=[{kind: onnxruntime, threads: 1}]"
        project = open_project(each.folder / "config", (*each.overrides, quality, runtimes))
        bench(project)
        decided.append(decide(project))
    assert decided[0] == decided[1]


def test_a_forced_measurement_counts_instead_of_the_earlier_one_on_every_machine(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = machines
    on(ours, monkeypatch)
    bench(open_one(ours))
    on(theirs, monkeypatch)
    (forced,) = bench(open_one(theirs, "benchmark.run.mode=force_new")).measured
    assert forced.attempt == 2
    on(ours, monkeypatch)
    result = bench(open_one(ours))
    assert (result.measured, [each.attempt for each in result.plan.jobs]) == ((), [2])
    assert open_one(ours).results.load_valid(forced.job) == forced
    assert states(open_one(ours)) == {"valid": 1, "superseded": 1}


def test_a_published_run_that_was_deleted_is_measured_again_and_counts(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = machines
    on(ours, monkeypatch)
    bench(open_one(ours))
    project = open_one(ours)
    (planned,) = plan(project).jobs
    create_client(project.tracker.uri).delete_run(planned.run_id or "")
    on(theirs, monkeypatch)
    (again,) = bench(open_one(theirs)).measured
    on(ours, monkeypatch)
    assert bench(open_one(ours)).measured == ()
    assert open_one(ours).results.load_valid(again.job) == again


def test_a_run_that_was_published_and_never_closed_counts(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(machines[0], monkeypatch)
    bench(open_one(machines[0]))
    (planned,) = plan(open_one(machines[0])).jobs
    create_client(machines[0].store_uri).update_run(planned.run_id or "", status="RUNNING")
    on(machines[1], monkeypatch)
    assert [each.action for each in plan(open_one(machines[1])).jobs] == ["reuse"]
    assert bench(open_one(machines[1])).measured == ()


def test_runs_that_no_ledger_knows_count_as_before(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(machines[0], monkeypatch)
    bench(open_one(machines[0]))
    project = open_one(machines[0])
    client = create_client(machines[0].store_uri)
    experiment_id = project.tracker.find_experiment("benchmark") or ""
    for run in project.tracker.search_runs(experiment_id, {tags.STAGE: "claims"}):
        client.delete_run(run.info.run_id)
    assert [each.action for each in plan(open_one(machines[1])).jobs] == ["reuse"]


def test_two_projects_on_one_machine_never_measure_at_the_same_time(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on(machines[0], monkeypatch)
    ended: list[str] = []

    def measure() -> None:
        bench(open_one(machines[1]))
        ended.append("bench")

    with machine_lock.measuring(print):
        thread = threading.Thread(target=measure)
        thread.start()
        while not caplog.records:
            time.sleep(0.05)
        line = caplog.records[0].getMessage()
        assert line.startswith(f"waiting for the machine lock: pid {os.getpid()} (`")
        assert not list(machines[1].folder.glob("results/work/*"))
        ended.append("we")
    thread.join()
    assert ended == ["we", "bench"]


def test_a_bench_with_nothing_to_measure_does_not_wait_for_the_machine(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(machines[0], monkeypatch)
    bench(open_one(machines[0]))
    with machine_lock.measuring(print):
        assert bench(open_one(machines[0])).measured == ()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_of_one_of_two_benches_lose_nothing_and_count_nothing_twice(
    shipped: Path, tmp_path: Path
) -> None:
    tally = kill_benches(shipped, tmp_path / "storms", n_kills=8, seed=1)
    assert tally.n_kills == 8
    assert tally.holds, tally

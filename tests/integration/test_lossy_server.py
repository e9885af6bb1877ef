"""A real MLflow server whose requests go wrong, one by one: nothing is lost, nothing is measured twice."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bakeoff.errors import TrackingError
from bakeoff.orchestrator import Project, bench, open_project, plan, sync
from bakeoff.run.machine import processes
from bakeoff.stores import tags
from bakeoff.stores.tracking import client as client_module
from duels import PROTOCOL
from proxy import FAULTS, Fault, Proxy, proxy_before
from services import mlflow_server

pytestmark = pytest.mark.slow
# Two jobs, each a heat of its own, in two processes each.
QUICK = (
    "benchmark.runtimes=[{kind: noop, threads: 1}]",
    "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}, {kind: latency, batch_sizes: [2]}]",
    f"benchmark.protocol={{{PROTOCOL}}}",
)
N_JOBS, N_STARTS = 2, 4
# The requests of one bench are more than this, so that every place of it is met.
N_SHARDS = 6


@pytest.fixture(scope="module")
def proxy(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy before a server, in whose store a champion stands."""
    folder = tmp_path_factory.mktemp("lossy")
    shutil.copyfile(shipped / "mlflow.db", folder / "mlflow.db")
    with mlflow_server(f"sqlite:///{folder}/mlflow.db", folder / "server") as uri, proxy_before(uri) as made:
        yield made


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, quiet_machine: None) -> list[str]:
    """The module of each process that was started."""
    begun: list[str] = []
    start = processes.start_process

    def counted(module: str, *args: Any, **kwargs: Any) -> Any:
        begun.append(module)
        return start(module, *args, **kwargs)

    monkeypatch.setattr(processes, "start_process", counted)
    monkeypatch.setattr(client_module, "RETRY_WAITS_S", (0.01, 0.01))
    return begun


class Lab:
    """Projects before one proxy, each with a benchmark experiment of its own."""

    def __init__(self, shipped: Path, folder: Path, proxy: Proxy) -> None:
        self.shipped, self.folder, self.proxy = shipped, folder, proxy

    def open(self, name: str) -> Project:
        folder = self.folder / name
        if not folder.exists():
            shutil.copytree(
                self.shipped, folder, ignore=shutil.ignore_patterns("mlflow.db*", "jobs", "mlartifacts")
            )
        uri, experiment = f"tracking.uri={self.proxy.uri}", f"tracking.benchmark_experiment=bench {name}"
        # Signs of life are requests too: a slow bench shall not make more of them than a quick one.
        patience = "tracking.claim_expiry_s=86400"
        return open_project(folder / "config", (*QUICK, uri, experiment, patience))


@pytest.fixture
def lab(shipped: Path, tmp_path: Path, proxy: Proxy) -> Lab:
    """A place for many projects."""
    return Lab(shipped, tmp_path, proxy)


def counting_runs(project: Project) -> Counter[str]:
    """How many runs of each key count, by their status and validity alone."""
    experiment_id = project.tracker.find_experiment(project.settings.tracking.benchmark_experiment)
    assert experiment_id is not None
    return Counter(
        run.data.tags[tags.BENCHMARK_KEY]
        for run in project.tracker.search_runs(experiment_id, {tags.STAGE: "benchmark"})
        if run.info.status == "FINISHED" and run.data.tags[tags.VALIDITY] == "valid"
    )


def check_after(project: Project, starts: list[str]) -> str:
    """What is wrong after the command that follows a fault; nothing if all is as it must be."""
    result = bench(project)
    counted = counting_runs(project)
    problems = []
    if sorted(counted.values()) != [1] * N_JOBS:
        problems.append(f"runs that count: {sorted(counted.values())}")
    if len(starts) != N_STARTS:
        problems.append(f"{len(starts)} processes were started")
    if result.unlogged or {planned.action for planned in plan(project).jobs} != {"reuse"}:
        problems.append("not everything was sent")
    return ", ".join(problems)


@pytest.mark.parametrize(
    ("lasts", "shard"),
    [
        *[pytest.param(False, shard, id=f"once-{shard}") for shard in range(N_SHARDS)],
        # Half a minute each: a server that stays away ends a bench at the next request anyway.
        *[pytest.param(True, shard, id=f"from then on-{shard}") for shard in range(0, N_SHARDS, 3)],
    ],
)
def test_a_fault_at_any_request_of_a_bench_costs_no_result_and_no_second_measurement(
    lab: Lab, starts: list[str], lasts: bool, shard: int
) -> None:
    problems = {}
    for number in itertools.count(shard, N_SHARDS):
        fault = FAULTS[number // N_SHARDS % len(FAULTS)]
        starts.clear()
        name = f"{'down' if lasts else 'once'} {number}"

        def spoils(count: int, at: int = number, kind: Fault = fault) -> Fault | None:
            return kind if (count >= at if lasts else count == at) else None

        lab.proxy.begin(spoils)
        with suppress(TrackingError):
            bench(lab.open(name))
        if len(lab.proxy.seen) <= number:  # a bench makes no more requests, and this one met no fault
            break
        spoilt = lab.proxy.seen[number]
        lab.proxy.begin(lambda _: None)
        if problem := check_after(lab.open(name), starts):
            problems[f"{fault} at {number}: {spoilt}"] = problem
    assert number > N_SHARDS
    assert problems == {}


def test_missing_rights_to_claim_are_told_before_anything_is_measured(lab: Lab, starts: list[str]) -> None:
    lab.proxy.begin(lambda _: None)
    lab.open("rights").tracker.ensure_experiment("bench rights")
    lab.proxy.begin(lambda _: "403" if lab.proxy.is_writing else None)
    with pytest.raises(TrackingError, match=r"user:\*\*\*@.*you may read, not write"):
        bench(lab.open("rights"))
    assert starts == []


def test_sync_sends_what_waits_says_so_and_names_what_it_cannot_send(lab: Lab, starts: list[str]) -> None:
    lab.proxy.begin(lambda _: None)
    project = lab.open("sync")
    n_before = len(lab.proxy.seen)

    def down_after_the_plan(count: int) -> Fault | None:
        return "500" if starts else None

    lab.proxy.begin(down_after_the_plan)
    assert (len(bench(project).measured), n_before) == (N_JOBS, 0)
    down = sync(lab.open("sync"))
    assert (down.sent, len(down.waiting)) == ((), N_JOBS + 1)
    assert "it answers with error 500" in down.fault
    assert "user:***@" in down.fault
    lab.proxy.begin(lambda _: None)
    up = sync(lab.open("sync"))
    assert (up.sent, up.waiting, up.fault) == (down.waiting, (), "")
    assert sorted(counting_runs(lab.open("sync")).values()) == [1] * N_JOBS
    assert sync(lab.open("sync")).sent == ()
    assert len(starts) == N_STARTS

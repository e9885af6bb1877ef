"""Nodes of a Ray cluster measure: each job once, also when nodes and commands die; what is wrong is told."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakeoff.errors import ClusterError, ConfigError, MissingExtraError
from bakeoff.install import install_command
from bakeoff.orchestrator import Project, bench, open_project, plan
from bakeoff.orchestrator.hardware import find_hardware, recall_hardware
from bakeoff.run.machine.hardware import detect_hardware
from bakeoff.run.machine.lock import LOCK_VARIABLE
from bakeoff.stores import tags
from clusters import Command, Nodes, list_attempts, wait_for_any, wait_until_idle
from copies import copy_unmeasured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PROTOCOL = (
    "{processes: 2, rounds: 2, block_s: 0.005, max_calls: 5, warmup_min_s: 0, warmup_max_s: 0.2, "
    "time_budget_s: 600}"
)
# Two heats of two candidates that compute nothing, in fresh processes as ever.
QUICK = (
    "benchmark.runtimes=[{kind: noop, threads: 1}, {kind: noop, threads: 2}]",
    "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}, {kind: latency, batch_sizes: [2]}]",
    f"benchmark.protocol={PROTOCOL}",
    "benchmark.accept_contended=true",
)
N_JOBS = 4
ONE_HEAT = "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]"
# Of processes enough to be killed between two of them.
LONG = "benchmark.protocol.processes=6"
WORK = "results/work/heat-*/repeat-000.json"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster with two nodes that measure."""
    with Nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        for name in ("a", "b"):
            nodes.start(name)
        yield nodes


@pytest.fixture
def config(shipped: Path, tmp_path: Path) -> Path:
    """A project with a champion, of which nothing quick is measured."""
    return copy_unmeasured(shipped, tmp_path / "project")


def runs_of(project: Project) -> Counter[tuple[str, str]]:
    """How many benchmark runs there are by key and state, of the keys of a project's plan."""
    experiment_id = project.tracker.find_experiment("benchmark") or ""
    keys = {planned.job.key for planned in plan(project).jobs}
    return Counter(
        (run.data.tags[tags.BENCHMARK_KEY], run.info.status)
        for run in project.tracker.search_runs(experiment_id, {tags.STAGE: "benchmark"})
        if run.data.tags[tags.BENCHMARK_KEY] in keys
    )


def test_nodes_measure_every_job_once_and_keep_nothing_that_was_fetched(cluster: Nodes, config: Path) -> None:
    project = open_project(config, cluster.overrides(*QUICK))
    result = bench(project)
    assert ([each.attempt for each in result.measured], result.failed) == ([1] * N_JOBS, ())
    assert set(runs_of(project).values()) == {1}
    assert len(runs_of(project)) == N_JOBS
    assert [node.find("results/jobs/*/*") for node in cluster.nodes.values()] == [[], []]
    assert bench(open_project(config, cluster.overrides(*QUICK))).measured == ()
    # Who decides or reports needs no cluster.
    gone = open_project(config, ("benchmark.execution={kind: ray, address: 'localhost:9', wait_s: 0.1}",))
    assert recall_hardware(gone) == detect_hardware()


def test_a_heat_is_split_over_idle_nodes_and_every_part_has_the_reference(
    cluster: Nodes, config: Path
) -> None:
    three = (
        "benchmark.runtimes=[{kind: noop, threads: 1}, {kind: noop, threads: 2}, {kind: torch, threads: 1}]"
    )
    result = bench(open_project(config, cluster.overrides(*QUICK, ONE_HEAT, three)))
    heats = [each.heat for each in result.measured if each.heat is not None]
    assert len({heat.heat_id for heat in heats}) == 2
    assert sorted(len(heat.candidates) for heat in heats) == [2, 2, 2]
    assert len({heat.reference_key for heat in heats}) == 1
    assert set(runs_of(open_project(config, cluster.overrides(*QUICK, ONE_HEAT, three))).values()) == {1}
    whole = cluster.overrides(*QUICK, ONE_HEAT, three, "benchmark.execution.split_heats=false")
    again = bench(open_project(config, (*whole, "benchmark.run.mode=force_new")))
    assert [len(each.heat.candidates) for each in again.measured if each.heat] == [3, 3, 3]


def test_what_a_killed_node_measured_is_measured_once_more_and_nothing_else(
    cluster: Nodes, config: Path
) -> None:
    cluster.start("victim")
    command = Command(config, cluster.overrides(*QUICK, LONG))
    process = command.start()
    hit = wait_for_any(list(cluster.nodes.values()), WORK, process)
    cluster.kill(hit.name)
    process.join(600)
    cluster.start("heir")
    assert process.exitcode == 0
    attempts = Counter((number, is_done) for _, number, is_done in list_attempts(config.parent / "results"))
    # The two candidates of its heat failed once and were measured once more.
    assert attempts == {(1, False): 2, (2, True): 2, (1, True): 2}
    states = Counter(status for _, status in runs_of(command.open()).elements())
    assert states == {"FAILED": 2, "FINISHED": N_JOBS}
    failed = next(
        json.loads(path.read_bytes())
        for path in (config.parent / "results").glob("jobs/*/001.json")
        if "readings" not in json.loads(path.read_bytes())
    )
    assert failed["reason"].startswith("the node was lost (")


def test_what_nodes_finished_for_a_command_that_died_is_fetched_and_not_measured_again(
    cluster: Nodes, config: Path
) -> None:
    command = Command(config, cluster.overrides(*QUICK))
    process = command.start()
    nodes = [node for node in cluster.nodes.values() if node.is_alive]
    wait_for_any(nodes, "results/work/heat-*/*", process)
    os.kill(process.pid or 0, signal.SIGSTOP)  # it can hear of nothing any more
    left = wait_for_any(nodes, "results/jobs/*/*.json", process)
    process.kill()
    process.join()
    assert left.find("results/jobs/*/*.json")
    result = bench(command.open())
    assert result.failed == ()
    assert len(result.measured) < N_JOBS
    assert set(runs_of(command.open()).values()) == {1}
    assert len(runs_of(command.open())) == N_JOBS
    # A node whose process was killed amid a file keeps that part until it measures again.
    assert [node.find("results/jobs/*/[!.]*") for node in nodes] == [[] for _ in nodes]


def test_a_command_that_is_killed_leaves_nobody_measuring_and_the_next_one_goes_on(
    cluster: Nodes, config: Path
) -> None:
    command = Command(config, cluster.overrides(*QUICK, LONG))
    process = command.start()
    nodes = [node for node in cluster.nodes.values() if node.is_alive]
    wait_for_any(nodes, WORK, process)
    process.kill()
    process.join()
    wait_until_idle(nodes)
    result = bench(command.open())  # takes the claims over at once: it holds the project's lock
    assert (len(result.measured), result.failed) == (N_JOBS, ())
    assert {each.attempt for each in result.measured} == {1}
    assert set(runs_of(command.open()).values()) == {1}


def test_an_error_on_a_node_is_a_recorded_failure_of_its_jobs_alone(cluster: Nodes, config: Path) -> None:
    too_short = ("benchmark.scenarios=[{kind: quality}]", "benchmark.timeout_s=0.01")
    result = bench(open_project(config, (*cluster.overrides(*QUICK), *too_short)))
    assert (result.measured, len(result.failed)) == ((), 2)
    assert {each.reason for each in result.failed} == {
        "no outcome after 0.01 s; set benchmark.timeout_s if it needs longer"
    }


def test_a_resource_that_no_node_has_is_told_and_not_waited_for(cluster: Nodes, config: Path) -> None:
    settings = f"benchmark.execution={{kind: ray, address: '{cluster.address}', resource: tpu, wait_s: 1}}"
    with pytest.raises(ClusterError, match=r"no node has \{tpu: 1\}; the nodes have .*bakeoff_slot: 1"):
        plan(open_project(config, (settings,)))
    wants_gpu = (*cluster.overrides(*QUICK), "benchmark.execution.gpus=1", "benchmark.execution.wait_s=1")
    with pytest.raises(ClusterError, match=r"no node has \{bakeoff_slot: 1, GPU: 1\}"):
        bench(open_project(config, wants_gpu))


def test_hardware_that_no_node_is_of_is_told_with_what_there_is(cluster: Nodes, config: Path) -> None:
    overrides = (*cluster.overrides(*QUICK), "benchmark.execution.hardware=Abacus")
    with pytest.raises(ConfigError, match=r"no node has 'Abacus' \(\d × '.*'\); set one of these"):
        plan(open_project(config, overrides))


def test_an_address_where_nobody_answers_is_told(config: Path) -> None:
    settings = "benchmark.execution={kind: ray, address: 'localhost:9', wait_s: 0.1}"
    with pytest.raises(
        ClusterError, match=r"cannot be reached: .*Connection refused; .*; nothing was measured"
    ):
        bench(open_project(config, (settings,)))


def test_without_ray_the_extra_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("ray"))):
        plan(open_project(config, ("benchmark.execution={kind: ray}",)))


def test_without_an_address_this_machine_is_the_cluster(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = bench(open_project(config, (*QUICK, ONE_HEAT, "benchmark.execution={kind: ray}")))
    assert (len(result.measured), result.failed) == (2, ())
    assert "RAY_AUTH_MODE" not in os.environ  # the next cluster may be another one, without a token
    assert not list(tmp_path.glob("home/.cache/bakeoff/nodes/*/*/results/jobs/*/*"))


def test_two_commands_on_one_cluster_share_the_work(
    cluster: Nodes, config: Path, tmp_path: Path, make_copy: Callable[[Path], Path]
) -> None:
    commands = [Command(each, cluster.overrides(*QUICK)) for each in (config, make_copy(config))]
    processes = [command.start() for command in commands]
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0]
    assert Counter(status for _, status in runs_of(commands[0].open()).elements()) == {"FINISHED": N_JOBS}


@pytest.fixture
def make_copy(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a project that keeps its runs where the first one does."""

    def make(config: Path) -> Path:
        copied = copy_unmeasured(config.parent, tmp_path / "second")
        (copied / "tracking.yaml").write_text(
            (config / "tracking.yaml").read_text() + f"uri: sqlite:///{config.parent}/mlflow.db\n"
        )
        return copied

    return make


def test_the_nodes_are_asked_what_they_are_once_a_command(cluster: Nodes, config: Path) -> None:
    project = open_project(config, cluster.overrides(*QUICK))
    assert find_hardware(project) == detect_hardware()
    assert project.cluster is not None
    assert project.cluster.nodes is not None
    assert {node.slots for node in project.cluster.nodes} == {1}


def test_what_ray_prints_of_nodes_does_not_mix_with_results(
    cluster: Nodes, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = open_project(config, cluster.overrides(*QUICK)).cluster
    assert where is not None
    with where.connected():
        print("a node died", file=sys.stdout)  # noqa: T201 - as a thread of ray does
    told = capsys.readouterr()
    assert told.out == ""
    assert "a node died" in told.err

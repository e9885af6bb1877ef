"""A real MLflow server whose requests go wrong: nothing is lost, nothing is measured twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from bakeoff.errors import TrackingError
from bakeoff.orchestrator import bench, sync
from lossy import COMMANDS, N_JOBS, Command, Lab, Point, Spoiling, lossy_lab
from proxy import FAULTS, Fault

pytestmark = pytest.mark.slow
# Each takes about a second; benchmarks/faults.py takes all. All kinds are among as many as there are kinds.
N_POINTS = len(FAULTS)
# Faults that once cost a result, a file or an alias, or ended a command with a traceback.
REGRESSIONS: tuple[tuple[str, Fault, str], ...] = (
    ("sync", "html", "PUT .*001.npz"),
    ("sync", "other JSON", "POST .*runs/create"),
    ("sync", "other JSON", "POST .*runs/log-batch"),
    ("sync", "other JSON", "POST .*runs/update"),
    ("sync", "wrong types", "POST .*runs/search"),
    ("bench", "other JSON", "POST .*runs/log-parameter"),
    ("promote", "html", "PUT .*MLmodel"),
    ("promote", "other JSON", "POST .*model-versions/create"),
    ("promote", "other JSON", "POST .*registered-models/alias"),
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A proxy before a server, and a project in which every command has run once."""
    with lossy_lab(tmp_path_factory.mktemp("lossy") / "lab") as made:
        yield made


@pytest.fixture(scope="module")
def spoiling(lab: Lab) -> Callable[[str], Spoiling]:
    """Each command, and what it does undisturbed."""
    commands = {command.name: command for command in COMMANDS}
    made: dict[str, Spoiling] = {}

    def find(name: str) -> Spoiling:
        if name not in made:
            made[name] = Spoiling(lab, commands[name])
        return made[name]

    return find


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_fault_at_any_request_costs_no_result_and_no_second_measurement(
    spoiling: Callable[[str], Spoiling], command: Command
) -> None:
    spoilt = spoiling(command.name)
    tallies = [spoilt.spoil(point) for point in spoilt.points[:N_POINTS]]
    assert [story for tally in tallies for story in tally.stories] == []
    assert set(spoilt.met) == set(FAULTS)


@pytest.mark.parametrize(("command", "kind", "request_line"), REGRESSIONS)
def test_success_that_is_not_mlflows_is_not_believed(
    spoiling: Callable[[str], Spoiling], command: str, kind: Fault, request_line: str
) -> None:
    spoilt = spoiling(command)
    number = next(n for n, line in enumerate(spoilt.seen) if re.fullmatch(f"{request_line}.*", line))
    tally = spoilt.spoil(Point(kind, number, lasts=False))
    assert (tally.n_points, tally.stories) == (1, ())


def test_missing_rights_to_claim_are_told_before_anything_is_measured(lab: Lab) -> None:
    lab.copy("rights", "results")
    lab.open("rights").ensure_benchmark_experiment()
    lab.begin(lambda _: "403" if lab.proxy.is_writing else None)
    with pytest.raises(TrackingError, match=r"user:\*\*\*@.*you may read, not write"):
        bench(lab.open("rights", is_lossy=True))
    assert lab.begun == []


def test_sync_sends_what_waits_says_so_and_names_what_it_cannot_send(lab: Lab) -> None:
    lab.copy("waiting", "results")
    # down after the plan
    lab.begin(lambda _: "500" if lab.begun else None)
    assert len(bench(lab.open("waiting", is_lossy=True)).measured) == N_JOBS
    down = sync(lab.open("waiting", is_lossy=True))
    assert (down.sent, len(down.waiting)) == ((), N_JOBS)
    assert "it answers with error 500" in down.fault
    assert "user:***@" in down.fault
    assert len(lab.begun) == N_JOBS
    lab.begin(lambda _: None)
    up = sync(lab.open("waiting", is_lossy=True))
    assert (up.sent, up.waiting, up.fault) == (down.waiting, (), "")
    assert sync(lab.open("waiting", is_lossy=True)).sent == ()
    assert lab.begun == []

"""The ledger and its claims, on every kind of store: one holder a key, one run that counts."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakeoff.disk.digest import digest_json
from bakeoff.errors import TrackingError
from bakeoff.stores import tags
from bakeoff.stores.claims.claims import Claim, Claims, Held, Published, Stale
from bakeoff.stores.claims.ledger import Ledger
from bakeoff.stores.tracking import Tracker, create_client
from services import PostgresServer, mlflow_server

KEY = digest_json("a key")
EXPIRY_S = 10.0


class Clock:
    """A clock that goes forward when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """One experiment of a store, and commands on machines that use it."""

    def __init__(self, uri: str, experiment: str = "benchmark") -> None:
        self.tracker = Tracker(uri)
        self.client = create_client(uri)
        self.experiment = experiment
        self.experiment_id = self.tracker.ensure_experiment(experiment)
        self.clock = Clock()

    def command(
        self, machine: str, *, expiry_s: float = EXPIRY_S, n_parts: int = 16, ahead_s: float = 0.0
    ) -> Claims:
        return Claims(
            Ledger(Tracker(self.tracker.uri), self.experiment, n_parts),
            f"{machine}, process 1",
            lambda: machine,
            expiry_s=expiry_s,
            now_s=lambda: self.clock() + ahead_s,
        )

    def make_run(self, attempt: int = 1) -> str:
        return self.tracker.create_run(
            self.experiment_id, "r", {tags.ATTEMPT: str(attempt)}, nonce=str(id(object()))
        )

    def watch(self, claims: Claims, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Look once a second at who holds the key."""
        for _ in range(int(seconds)):
            claims.look(KEY)
            self.clock.now_s += 1
            meanwhile()


# Tests share a server, each with an experiment of its own, since a server takes long to start.
@pytest.fixture(scope="module")
def shared_postgres_uri(postgres_server: PostgresServer) -> str:
    """A PostgreSQL database of this file."""
    return postgres_server.make_database()


@pytest.fixture(scope="module")
def shared_server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server of this file."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(f"sqlite:///{folder}/server.db", folder) as uri:
        yield uri


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("server", marks=pytest.mark.slow),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path, empty_store: Path) -> World:
    """A world on one kind of store."""
    if request.param == "sqlite":
        return World(f"sqlite:///{shutil.copyfile(empty_store, tmp_path / 'mlflow.db')}")
    return World(request.getfixturevalue(f"shared_{request.param}_uri"), request.node.name)


def test_a_key_that_is_held_is_nobody_elses_and_one_that_was_given_up_is_free(world: World) -> None:
    ours, theirs = world.command("m1"), world.command("m2")
    mine = ours.claim(KEY, 1)
    assert mine == Claim(key_digest=KEY, number=1, attempt=1)
    assert theirs.claim(KEY, 1) == Held(owner="m1, process 1")
    assert ours.claim(KEY, 1) == mine
    ours.end(mine, "released")
    assert theirs.claim(KEY, 1) == Claim(key_digest=KEY, number=2, attempt=1)


def test_a_holder_that_stays_silent_while_it_is_watched_is_taken_over(world: World) -> None:
    dead, heir = world.command("m1"), world.command("m2")
    assert isinstance(dead.claim(KEY, 1), Claim)
    world.watch(heir, EXPIRY_S - 1)
    assert isinstance(heir.claim(KEY, 1), Held)
    world.watch(heir, 2)
    assert heir.claim(KEY, 1) == Claim(key_digest=KEY, number=2, attempt=1)
    assert isinstance(dead.claim(KEY, 1), Held)


def test_a_holder_that_beats_is_never_taken_over(world: World) -> None:
    alive, other = world.command("m1"), world.command("m2")
    assert isinstance(alive.claim(KEY, 1), Claim)
    world.watch(other, 5 * EXPIRY_S, meanwhile=alive.beat)
    assert isinstance(other.claim(KEY, 1), Held)


@pytest.mark.parametrize("ahead_s", [6 * 3600.0, -6 * 3600.0])
def test_clocks_that_are_hours_apart_neither_kill_the_living_nor_spare_the_dead(
    world: World, ahead_s: float
) -> None:
    holder, other = world.command("m1", ahead_s=ahead_s), world.command("m2")
    assert isinstance(holder.claim(KEY, 1), Claim)
    world.watch(other, 5 * EXPIRY_S, meanwhile=holder.beat)
    assert isinstance(other.claim(KEY, 1), Held)
    world.watch(other, EXPIRY_S + 1)
    assert isinstance(other.claim(KEY, 1), Claim)
    assert isinstance(holder.claim(KEY, 1), Held)


def test_a_silence_that_nobody_watched_proves_nothing(world: World) -> None:
    busy, other = world.command("m1"), world.command("m2")
    busy.claim(KEY, 1)
    assert isinstance(other.claim(KEY, 1), Held)
    world.clock.now_s += 10 * EXPIRY_S  # the store was away, or we measured something else
    assert isinstance(other.claim(KEY, 1), Held)


def test_a_watcher_waits_for_as_long_as_the_holder_said_it_may_be_silent(world: World) -> None:
    slow, hasty = world.command("m1", expiry_s=40), world.command("m2", expiry_s=1)
    slow.claim(KEY, 1)
    world.watch(hasty, 39)
    assert isinstance(hasty.claim(KEY, 1), Held)


def test_a_claim_of_this_very_machine_is_dead_since_we_hold_its_lock(world: World) -> None:
    killed, again = world.command("m1"), world.command("m1")
    killed.claim(KEY, 1)
    assert again.claim(KEY, 1) == Claim(key_digest=KEY, number=2, attempt=1)


def test_the_first_publication_counts_and_whoever_comes_late_is_told_which(world: World) -> None:
    slow, heir = world.command("m1"), world.command("m2")
    slow.claim(KEY, 1)
    first, late = world.make_run(), world.make_run()
    assert heir.publish(KEY, first, 1, is_forced=False) == first
    assert slow.publish(KEY, late, 1, is_forced=False) == first
    assert heir.publish(KEY, first, 1, is_forced=False) == first
    assert world.command("m3").claim(KEY, 1) == Published(run_id=first)


def test_a_deleted_run_counts_no_more_and_makes_room_for_the_next(world: World) -> None:
    command = world.command("m1")
    first, second = world.make_run(), world.make_run()
    command.publish(KEY, first, 1, is_forced=False)
    world.client.delete_run(first)
    assert isinstance(command.claim(KEY, 1), Claim)
    assert command.publish(KEY, second, 1, is_forced=False) == second
    world.client.restore_run(first)
    assert command.claim(KEY, 2) == Published(run_id=second)


def test_a_forced_measurement_replaces_an_earlier_attempt_and_no_later_one(world: World) -> None:
    command, other = world.command("m1"), world.command("m2")
    first, second, late = world.make_run(1), world.make_run(2), world.make_run(2)
    command.publish(KEY, first, 1, is_forced=False)
    assert isinstance(command.claim(KEY, 2, is_forced=True), Claim)
    assert command.publish(KEY, second, 2, is_forced=True) == second
    assert other.publish(KEY, late, 2, is_forced=True) == second
    assert other.claim(KEY, 2, is_forced=True) == Published(run_id=second)


def test_an_attempt_that_failed_elsewhere_takes_its_number_with_it(world: World) -> None:
    first, second = world.command("m1"), world.command("m2")
    claim = first.claim(KEY, 1)
    assert isinstance(claim, Claim)
    first.end(claim, "failed")
    assert second.claim(KEY, 1) == Stale()
    assert second.claim(KEY, 1, is_replanned=True) == Claim(key_digest=KEY, number=2, attempt=2)


def test_commands_that_meet_on_an_empty_store_agree_on_one_ledger(world: World) -> None:
    commands = [world.command(f"m{number}") for number in range(6)]
    together, answers = threading.Barrier(len(commands)), list[object]()

    def claim(command: Claims) -> None:
        together.wait()
        answers.append(command.claim(KEY, 1))

    threads = [threading.Thread(target=claim, args=(command,)) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(answer).__name__ for answer in answers) == ["Claim", *["Held"] * 5]


def test_keys_are_spread_over_as_many_runs_as_the_ledger_was_made_with(world: World) -> None:
    keys = [digest_json(number) for number in range(40)]
    maker, later = world.command("m1", n_parts=4), world.command("m2", n_parts=16)
    for key in keys[:20]:
        assert isinstance(maker.claim(key, 1), Claim)
    for key in keys[20:]:
        assert isinstance(later.claim(key, 1), Claim)
    assert all(isinstance(later.claim(key, 1), Held) for key in keys[:20])
    runs = list(world.tracker.search_runs(world.experiment_id, {tags.STAGE: "claims"}))
    sizes = [sum(name.split(".")[0] in keys for name in run.data.params) for run in runs]
    assert (len([size for size in sizes if size]), sum(sizes)) == (4, 40)


def test_a_deleted_ledger_is_told_and_never_read_as_an_empty_one(world: World) -> None:
    world.command("m1").claim(KEY, 1)
    for run in world.tracker.search_runs(world.experiment_id, {tags.STAGE: "claims"}):
        world.client.delete_run(run.info.run_id)
    with pytest.raises(TrackingError, match=r"run \w{32} was deleted; restore it"):
        world.command("m2").claim(KEY, 1)


def test_entries_that_others_wrote_are_passed_over(world: World) -> None:
    command = world.command("m1")
    claim = command.claim(KEY, 1)
    assert isinstance(claim, Claim)
    command.end(claim, "released")
    for run in world.tracker.search_runs(world.experiment_id, {tags.STAGE: "claims"}):
        for entry in ("claim0", "claimX", "done", "note", "end99999999999"):
            world.client.log_param(run.info.run_id, f"{KEY}.{entry}", "\x1b[31m?")
    assert command.claim(KEY, 1) == Claim(key_digest=KEY, number=2, attempt=1)


def test_whoever_leaves_takes_its_heartbeat_away_and_what_it_held_expires(world: World) -> None:
    gone, heir = world.command("m1"), world.command("m2")
    gone.claim(KEY, 1)
    gone.close()
    heir.claim(KEY, 1)
    marks = [
        name
        for run in world.tracker.search_runs(world.experiment_id, {tags.STAGE: "claims"})
        for name in run.data.tags
        if name.startswith(tags.HEARTBEAT)
    ]
    assert marks == [heir.owner.mark]
    world.watch(heir, EXPIRY_S + 1)
    assert isinstance(heir.claim(KEY, 1), Claim)

"""Who measures which key, and whose result counts: exactly once between machines.

A holder is dead when its heartbeat stays the same while it is watched for as long as it said it might be
silent, by the watcher's own clock; no two clocks are compared. Whoever is taken for dead and is not loses
nothing but time: what counts is decided by ``done`` alone.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bakeoff import heartbeat
from bakeoff.errors import TrackingError
from bakeoff.record import Record
from bakeoff.stores import tags
from bakeoff.stores.claims.ledger import Ledger
from bakeoff.stores.tracking.benchmarks import VALID
from bakeoff.stores.tracking.entries import Entries

if TYPE_CHECKING:
    from mlflow.entities import Run

# Beats in the time after which silence is death.
BEATS_PER_EXPIRY = 10
# A silence counts while it is watched; a gap in the watching of more than this share begins it anew.
LONGEST_GAP_SHARE = 0.25
# Somebody else was quicker so often only where the store answers something else than it was told.
MAX_TURNS = 20
_OWNER = re.compile(
    r"(?P<token>[0-9a-f]{32}) (?P<machine>\S{1,200}) (?P<expiry_s>\d{1,6}(\.\d{1,3})?) (?P<name>.{1,200})"
)

End = Literal["published", "superseded", "failed", "invalid", "released"]


class Owner(Record):
    """Who claims: one command on one machine.

    Attributes:
        token: Unique to the command.
        machine: Equal for two commands if, and only if, they measure under the same lock.
        expiry_s: For how long it may be silent and is alive.
        name: For eyes.
    """

    token: str
    machine: str
    expiry_s: float
    name: str

    @property
    def text(self) -> str:
        """As it stands in the ledger."""
        return f"{self.token} {self.machine} {self.expiry_s:g} {self.name}"

    @property
    def mark(self) -> str:
        """Name of its heartbeat."""
        return f"{tags.HEARTBEAT}.{self.token}"


class Claim(Record):
    """A key that is ours to measure.

    Attributes:
        attempt: Number that the attempt shall have.
    """

    key_digest: str
    number: int
    attempt: int


class Held(Record):
    """Somebody else measures it, and is alive as far as was seen."""

    owner: str


class Published(Record):
    """It was published since it was planned."""

    run_id: str


class Stale(Record):
    """An attempt failed that the plan did not know of."""


@dataclass
class _Watch:
    """What was seen of a heartbeat: its value, since when it is the same, and when it was last looked at."""

    value: str | None
    since_s: float
    looked_s: float


class Claims:
    """One command's claims in one ledger.

    Args:
        ledger: Of the benchmark experiment.
        name: Of this command, for eyes.
        identify_machine: Says which machine this is; asked at the first claim.
        expiry_s: Silence after which others may take this command for dead.
        now_s: A clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        identify_machine: Callable[[], str],
        *,
        expiry_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._name = name
        self._identify_machine = identify_machine
        self._expiry_s = expiry_s
        self._now_s = now_s
        self._owner: Owner | None = None
        self._watched: dict[str, _Watch] = {}
        self._n_beats = 0
        self._next_beat_s = 0.0
        self._beating = threading.Lock()

    @property
    def owner(self) -> Owner:
        """This command."""
        if self._owner is None:
            self._owner = Owner(
                token=uuid.uuid4().hex,
                machine=self._identify_machine(),
                expiry_s=self._expiry_s,
                name=self._name,
            )
        return self._owner

    def claim(
        self, key_digest: str, attempt: int, *, is_forced: bool = False, is_replanned: bool = False
    ) -> Claim | Held | Published | Stale:
        """Claim a key, if nobody who is alive holds it.

        Args:
            key_digest: Which key.
            attempt: Number of the attempt by the plan.
            is_forced: Measure it although an earlier attempt counts.
            is_replanned: The plan is of just now: what it does not know of was deleted.

        Raises:
            TrackingError: The store does not answer; nothing, or a claim that will expire, was written.
        """
        if not self._n_beats:
            self._beat(is_patient=True)
        for _ in range(MAX_TURNS):
            entries = self._ledger.read(key_digest)
            counting = self._counting(entries, attempt, is_forced=is_forced)
            if counting is not None:
                return Published(run_id=counting)
            if entries.last_failed >= attempt and not is_replanned:
                return Stale()
            holder = entries.holder
            number = max(attempt, entries.last_failed + 1)
            if holder == self.owner.text:
                return Claim(key_digest=key_digest, number=entries.n_claims, attempt=number)
            if holder is not None and not self._is_dead(holder):
                return Held(owner=_name_of(holder))
            number_of_claim = entries.n_claims + 1
            if self._ledger.write_once(key_digest, f"claim{number_of_claim}", self.owner.text):
                return Claim(key_digest=key_digest, number=number_of_claim, attempt=number)
        raise self._never_settled(key_digest)

    def look(self, key_digest: str) -> Held | None:
        """Who holds a key and is alive as far as was seen; None if it is worth claiming now."""
        holder = self._ledger.read(key_digest).holder
        if holder is None or self._is_dead(holder):
            return None
        return Held(owner=_name_of(holder))

    def forget(self) -> None:
        """Begin all watching anew: the store was away, and nobody could say that he is alive."""
        self._watched.clear()

    def end(self, claim: Claim, how: End) -> None:
        """Give a claim up and say why."""
        self._ledger.write_once(claim.key_digest, f"end{claim.number}", f"{how} {claim.attempt}")

    def publish(self, key_digest: str, run_id: str, attempt: int, *, is_forced: bool) -> str:
        """Let a run count for a key, unless another one does.

        Args:
            key_digest: Of which key.
            run_id: Whole but for its end.
            attempt: Its number.
            is_forced: It replaces the one that counts, if that is of an earlier attempt.

        Returns:
            The run that counts: this one, or the one that was quicker.
        """
        for _ in range(MAX_TURNS):
            entries = self._ledger.read(key_digest)
            if entries.done.get(entries.n_done) == run_id:
                return run_id
            counting = self._counting(entries, attempt, is_forced=is_forced)
            if counting is not None:
                return counting
            if self._ledger.write_once(key_digest, f"done{entries.n_done + 1}", run_id):
                return run_id
        raise self._never_settled(key_digest)

    def beat(self) -> None:
        """Say that this command is alive, if it is time to; a fault is told when a result is logged."""
        if self._n_beats and self._now_s() >= self._next_beat_s:
            try:
                self._beat(is_patient=False)
            except TrackingError:
                self._next_beat_s = self._now_s() + 2 * self._expiry_s / BEATS_PER_EXPIRY

    def beating(self) -> AbstractContextManager[None]:
        """Beat in a thread, while nothing is measured and something else takes its time."""
        return heartbeat.beating(self.beat, self._expiry_s / BEATS_PER_EXPIRY)

    def close(self) -> None:
        """Take the heartbeat away; of one that stays behind nobody is misled."""
        if self._n_beats:
            self._n_beats = 0
            try:
                self._ledger.remove_mark(self.owner.mark)
            except TrackingError:
                return

    def _beat(self, *, is_patient: bool) -> None:
        with self._beating:
            self._next_beat_s = self._now_s() + self._expiry_s / BEATS_PER_EXPIRY
            self._ledger.write_mark(self.owner.mark, str(self._n_beats + 1), is_patient=is_patient)
            self._n_beats += 1

    def _is_dead(self, holder: str) -> bool:
        """Whether a holder is silent for too long, or was of this machine, whose lock we hold."""
        match = _OWNER.fullmatch(holder)
        if match is not None and match["machine"] == self.owner.machine:
            return True
        expiry_s = float(match["expiry_s"]) if match else self._expiry_s
        value = self._ledger.read_marks().get(f"{tags.HEARTBEAT}.{match['token']}") if match else None
        now_s, watch = self._now_s(), self._watched.get(holder)
        if watch is None or watch.value != value or now_s - watch.looked_s > LONGEST_GAP_SHARE * expiry_s:
            watch = self._watched[holder] = _Watch(value, now_s, now_s)
        watch.looked_s = now_s
        return now_s - watch.since_s >= expiry_s

    def _counting(self, entries: Entries, attempt: int, *, is_forced: bool) -> str | None:
        """The run that counts and stays; None if there is none that does, or it is to be replaced."""
        if not entries.done:
            return None
        run_id = entries.done[entries.n_done]
        run = self._ledger.find_run(run_id)
        if run is None or run.info.lifecycle_stage != "active" or _is_failed_or_invalid(run):
            return None
        number = run.data.tags.get(tags.ATTEMPT, "")
        is_earlier = number.isdecimal() and int(number) < attempt
        return None if is_forced and is_earlier else run_id

    def _never_settled(self, key_digest: str) -> TrackingError:
        found = f"entries of {key_digest} are refused and cannot be read: it keeps no params as MLflow does"
        return TrackingError("", action="writing to the ledger", found=found)


def _is_failed_or_invalid(run: Run) -> bool:
    """Whether somebody marked a run afterwards, so that no plan counts it any more."""
    return run.info.status == "FAILED" or run.data.tags.get(tags.VALIDITY, VALID) != VALID


def _name_of(holder: str) -> str:
    match = _OWNER.fullmatch(holder)
    return match["name"] if match else holder[:100]

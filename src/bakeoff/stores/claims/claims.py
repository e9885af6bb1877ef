"""Claims on keys: each key is measured, and one result of it counts, exactly once between machines.

A holder is dead when its heartbeat does not change during the silence that it announced. The watcher measures
this by its own clock; no two clocks are compared. A holder wrongly taken for dead loses only time, since
``done`` alone decides what counts.
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
from bakeoff.stores.tracking.ledger_entries import Entries

if TYPE_CHECKING:
    from mlflow.entities import Run

# Beats within the silence that means death.
BEATS_PER_EXPIRY = 10
# Only a watched silence counts; a gap in the watching of more than this share restarts it.
LONGEST_GAP_SHARE = 0.25
# Others are faster this often only if the store does not return what was written.
MAX_TURNS = 20
_OWNER = re.compile(
    r"(?P<token>[0-9a-f]{32}) (?P<machine>\S{1,200}) (?P<expiry_s>\d{1,6}(\.\d{1,3})?) (?P<name>.{1,200})"
)

End = Literal["published", "superseded", "failed", "invalid", "released"]


class Owner(Record):
    """Owner of claims: one command on one machine.

    Attributes:
        token: Text unique to the command.
        machine: Id that two commands share if, and only if, they measure under the same lock.
        expiry_s: Longest silence of a living owner, in s.
        name: Name for messages.
    """

    token: str
    machine: str
    expiry_s: float
    name: str

    @property
    def text(self) -> str:
        """Entry in the ledger."""
        return f"{self.token} {self.machine} {self.expiry_s:g} {self.name}"

    @property
    def mark(self) -> str:
        """Name of the heartbeat's tag."""
        return f"{tags.HEARTBEAT}.{self.token}"


class Claim(Record):
    """A key that this command may measure.

    Attributes:
        number: Number of the claim.
        attempt: Number for the new attempt.
    """

    key_digest: str
    number: int
    attempt: int


class Held(Record):
    """A key that another command measures, which seems to be alive."""

    owner: str


class Published(Record):
    """A key with a result published since the plan."""

    run_id: str


class Stale(Record):
    """A key with a failed attempt that the plan did not know."""


@dataclass
class _Watch:
    """Last value seen of a heartbeat, the start of that value, and the time of the last look."""

    value: str | None
    since_s: float
    looked_s: float


class Claims:
    """One command's claims in one ledger.

    Args:
        ledger: Ledger of the benchmark experiment.
        name: Name of this command, for messages.
        identify_machine: Returns the id of this machine; called at the first claim.
        expiry_s: Silence after which others may take this command for dead, in s.
        now_s: Clock that only goes forward, in s.
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
        """Claim a key, unless a living command holds it.

        Args:
            key_digest: Digest of the key.
            attempt: Number of the attempt in the plan.
            is_forced: Whether to measure although an earlier attempt counts.
            is_replanned: Whether the plan was just made. What such a plan does not know was deleted.

        Raises:
            TrackingError: The store does not answer. At most a claim that will expire was written.
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
        """Return the holder of a key if it seems alive; None if the key is worth a claim now."""
        holder = self._ledger.read(key_digest).holder
        if holder is None or self._is_dead(holder):
            return None
        return Held(owner=_name_of(holder))

    def forget(self) -> None:
        """Restart all watching, after an outage of the store in which no command could beat."""
        self._watched.clear()

    def end(self, claim: Claim, how: End) -> None:
        """End a claim, with the reason."""
        self._ledger.write_once(claim.key_digest, f"end{claim.number}", f"{how} {claim.attempt}")

    def publish(self, key_digest: str, run_id: str, attempt: int, *, is_forced: bool) -> str:
        """Let a run count for a key, unless another one does.

        Args:
            key_digest: Digest of the key.
            run_id: Run with everything logged, not yet closed.
            attempt: Number of its attempt.
            is_forced: Whether it replaces the counting run of an earlier attempt.

        Returns:
            The run that counts: this one, or a faster one.
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
        """Write a heartbeat if one is due; a fault shows up later, when a result is logged."""
        if self._n_beats and self._now_s() >= self._next_beat_s:
            try:
                self._beat(is_patient=False)
            except TrackingError:
                self._next_beat_s = self._now_s() + 2 * self._expiry_s / BEATS_PER_EXPIRY

    def beating(self) -> AbstractContextManager[None]:
        """Beat in a thread during long work that does not measure."""
        return heartbeat.beating(self.beat, self._expiry_s / BEATS_PER_EXPIRY)

    def close(self) -> None:
        """Remove the heartbeat; one that stays behind misleads no other command."""
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
        """Return whether a holder was silent too long, or ran on this machine, whose lock we hold."""
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
        """Find the run that counts and stays; None if no run counts, or it is to be replaced."""
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
        found = f"it refuses entries of {key_digest}, but does not return them"
        fix = "use a server that keeps params as MLflow does"
        return TrackingError("", action="writing to the ledger", found=found, safe=fix)


def _is_failed_or_invalid(run: Run) -> bool:
    """Return whether a run was marked as failed or invalid afterwards, so that no plan counts it."""
    return run.info.status == "FAILED" or run.data.tags.get(tags.VALIDITY, VALID) != VALID


def _name_of(holder: str) -> str:
    match = _OWNER.fullmatch(holder)
    return match["name"] if match else holder[:100]

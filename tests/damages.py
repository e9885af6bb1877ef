"""Stored files of every kind, each with the reader that must notice a change of any byte."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bakeoff.core.decision.decide import read_decision
from bakeoff.core.records import BackboneSelection
from bakeoff.disk.folders import COMPLETE_MARKER, build_folder, find_whole
from bakeoff.disk.sealed import read_sealed, seal_json
from bakeoff.errors import BakeoffError
from bakeoff.orchestrator.champions import KeptSelection
from bakeoff.run.measuring.orders import OUTCOME_FILE, Done, _open_outcome
from bakeoff.stores.results.attempt_files import encode_attempt, parse_attempt
from bakeoff.stores.results.store import ResultStore
from fault_cases import CHAMPION, DECISIONS, FIRST, JOB, LOGGED

Read = Callable[[bytes], object]


@dataclass(frozen=True)
class Stored:
    """A file as it was written.

    Attributes:
        whole: Its bytes.
        read: Reads bytes as the product does: a value, or None or an error for what it does not accept.
    """

    whole: bytes
    read: Read

    def is_silent(self, changed: bytes) -> bool:
        """Whether changed bytes are accepted."""
        try:
            return self.read(changed) is not None
        except (BakeoffError, ValueError):
            return False


def list_stored(folder: Path) -> dict[str, Stored]:
    """Make one file of each kind."""
    document, arrays = encode_attempt(FIRST)
    selection = BackboneSelection(
        backbone="minilm-l6", champion=CHAMPION, all_groups=(), selection_metadata={}
    )
    kept = KeptSelection(
        selected_at="2026-01-01T00:00:00+00:00", store="x", settings_digest="5" * 64,
        selections={"minilm-l6": selection},
    )  # fmt: skip
    outcome = Done(readings=FIRST.readings, environment=FIRST.environment)
    store = ResultStore(folder / "results")
    mark = store.store(FIRST).with_suffix(".logged")
    store.mark_logged(FIRST, LOGGED)
    built = folder / "built"
    build_folder(built, _fill)
    marker = built / COMPLETE_MARKER

    def through(path: Path, read: Callable[[], object]) -> Read:
        def write_and_read(changed: bytes) -> object:
            path.write_bytes(changed)
            return read()

        return write_and_read

    sealed = seal_json(outcome.model_dump(mode="json"))
    place = folder / OUTCOME_FILE
    return {
        "result": Stored(document, lambda changed: parse_attempt(changed, arrays, "here")),
        "raw values": Stored(arrays, lambda changed: parse_attempt(document, changed, "here")),
        "decision": Stored(
            seal_json(DECISIONS[0].model_dump(mode="json")), lambda changed: read_decision(changed, "here")
        ),
        "selection": Stored(
            seal_json(kept.model_dump(mode="json")), lambda changed: read_sealed(changed, KeptSelection)
        ),
        "outcome": Stored(sealed, through(place, lambda: _open_outcome(place))),
        "mark": Stored(mark.read_bytes(), through(mark, lambda: store.find_logged(JOB.key, 1))),
        "marker": Stored(marker.read_bytes(), through(marker, lambda: find_whole(built, rehash=False))),
    }


def _fill(aside: Path) -> None:
    (aside / "weights").write_bytes(b"w" * 1000)


def damage(whole: bytes, n: int, seed: int) -> Iterator[bytes]:
    """Change a digit, flip a bit, or cut some bytes out, each in turn at any place."""
    source = random.Random(seed)
    digits = [place for place, byte in enumerate(whole) if 48 <= byte <= 57]
    for number in range(n):
        changed = bytearray(whole)
        if number % 3 == 0:
            place = source.choice(digits)
            changed[place] = 48 + (changed[place] - 48 + source.randint(1, 9)) % 10
        elif number % 3 == 1:
            changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
        else:
            place = source.randrange(len(changed))
            del changed[place : place + source.randint(1, 64)]
        yield bytes(changed)


def count_silent(stored: Stored, n: int, seed: int) -> int:
    """Count the damages that pass."""
    return sum(stored.is_silent(changed) for changed in damage(stored.whole, n, seed))

"""Entries of a key in a ledger, parsed from params. Pure, and strict about the form of an entry.

Entries of a key, each written once:

    claim<g>   the holder; the last claim g holds the key, unless it was ended
    end<g>     the reason for the end of claim g, and the number of the attempt
    done<k>    the run that counts; only the last one does
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bakeoff.core.identity import is_run_id

_NUMBERED = re.compile(r"(claim|end|done)([1-9]\d{0,8})")
_FAILED_OR_INVALID = re.compile(r"(?:failed|invalid) ([1-9]\d{0,8})")


@dataclass(frozen=True)
class Entries:
    """Entries of one key in a ledger; params of other forms are ignored."""

    claims: Mapping[int, str]
    ends: Mapping[int, str]
    done: Mapping[int, str]

    @classmethod
    def parse(cls, params: Mapping[str, str], key_digest: str) -> Entries:
        """Read the entries of one key among the params of a ledger's run."""
        found: dict[str, dict[int, str]] = {"claim": {}, "end": {}, "done": {}}
        prefix = f"{key_digest}."
        for name, value in params.items():
            match = _NUMBERED.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if match and (match[1] != "done" or is_run_id(value)):
                found[match[1]][int(match[2])] = value
        return cls(found["claim"], found["end"], found["done"])

    @property
    def n_claims(self) -> int:
        """Number of the last claim; 0 if there are none."""
        return max(self.claims, default=0)

    @property
    def n_done(self) -> int:
        """Number of the last publication; 0 if there are none."""
        return max(self.done, default=0)

    @property
    def holder(self) -> str | None:
        """Holder of the key; None if the key is free."""
        last = self.n_claims
        return self.claims[last] if last and last not in self.ends else None

    @property
    def last_failed(self) -> int:
        """Number of the last failed or invalid attempt; 0 if there are none."""
        matches = (_FAILED_OR_INVALID.fullmatch(value) for value in self.ends.values())
        return max((int(match[1]) for match in matches if match), default=0)


def find_accepted(ledger_params: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Find the run that counts for each key digest, in all runs of a ledger."""
    newest: dict[str, tuple[int, str]] = {}
    for params in ledger_params:
        for name, value in params.items():
            digest, _, entry = name.partition(".")
            match = _NUMBERED.fullmatch(entry)
            if match and match[1] == "done" and is_run_id(value):
                newest[digest] = max(newest.get(digest, (0, "")), (int(match[2]), value))
    return {digest: run_id for digest, (_, run_id) in newest.items()}

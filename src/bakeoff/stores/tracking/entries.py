"""What stands in a ledger about a key, read from its params: pure, and wary of what is not ours.

Entries of a key, each written once:

    claim<g>   who holds it: the holder of the last claim g, unless that was ended
    end<g>     how it was given up, and the number of the attempt
    done<k>    the run that counts: the last one, and no other
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
    """What a ledger says about one key; entries of other forms are not ours."""

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
        """Number of the last claim; 0 without any."""
        return max(self.claims, default=0)

    @property
    def n_done(self) -> int:
        """Number of the last publication; 0 without any."""
        return max(self.done, default=0)

    @property
    def holder(self) -> str | None:
        """Who holds the key; None where nobody does."""
        last = self.n_claims
        return self.claims[last] if last and last not in self.ends else None

    @property
    def last_failed(self) -> int:
        """Number of the last attempt that came to nothing."""
        matches = (_FAILED_OR_INVALID.fullmatch(value) for value in self.ends.values())
        return max((int(match[1]) for match in matches if match), default=0)


def find_accepted(ledger_params: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The run that counts for each key digest, by all runs of a ledger."""
    newest: dict[str, tuple[int, str]] = {}
    for params in ledger_params:
        for name, value in params.items():
            digest, _, entry = name.partition(".")
            match = _NUMBERED.fullmatch(entry)
            if match and match[1] == "done" and is_run_id(value):
                newest[digest] = max(newest.get(digest, (0, "")), (int(match[2]), value))
    return {digest: run_id for digest, (_, run_id) in newest.items()}

"""What a ledger says about a key, whatever else stands there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.stores.tracking.ledger_entries import Entries, find_accepted

KEY, OTHER = "a" * 64, "b" * 64
RUNS = [f"{number:032x}" for number in range(12)]


def test_the_last_claim_that_was_not_ended_is_held() -> None:
    params = {f"{KEY}.claim1": "first", f"{KEY}.end1": "released 1", f"{KEY}.claim2": "second"}
    assert Entries.parse(params, KEY).holder == "second"
    assert Entries.parse({**params, f"{KEY}.end2": "failed 1"}, KEY).holder is None
    assert Entries.parse(params, OTHER).holder is None


def test_the_tenth_claim_comes_after_the_ninth() -> None:
    entries = Entries.parse({f"{KEY}.claim{n}": f"owner {n}" for n in range(1, 11)}, KEY)
    assert (entries.n_claims, entries.holder) == (10, "owner 10")


def test_only_failed_and_invalid_attempts_are_counted() -> None:
    ends = ["failed 1", "invalid 3", "released 7", "superseded 8", "published 9", "failed", "failed x", ""]
    entries = Entries.parse({f"{KEY}.end{n}": end for n, end in enumerate(ends, 1)}, KEY)
    assert entries.last_failed == 3


@given(st.permutations(range(1, 12)), st.integers(1, 11))
def test_the_last_publication_counts_however_its_entries_are_spread_over_runs(
    order: list[int], split: int
) -> None:
    entries = [(f"{KEY}.done{number}", RUNS[number]) for number in order]
    assert find_accepted([dict(entries[:split]), dict(entries[split:])]) == {KEY: RUNS[11]}


@given(st.dictionaries(st.text(max_size=90), st.text(max_size=40)))
def test_params_that_are_not_ours_say_nothing(params: dict[str, str]) -> None:
    ours = {f"{KEY}.done1": RUNS[1]}
    assert find_accepted([params | ours])[KEY] == RUNS[1]
    assert Entries.parse(params | ours, KEY).done == {1: RUNS[1]}


def test_a_publication_that_names_no_run_is_none() -> None:
    params = {f"{KEY}.done1": RUNS[1], f"{KEY}.done2": "../../etc/passwd", f"{KEY}.done03": RUNS[3]}
    assert find_accepted([params]) == {KEY: RUNS[1]}
    assert Entries.parse(params, KEY).n_done == 1

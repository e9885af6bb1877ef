"""Ties: what is said to break one does break it, and a tie of twins has no fix."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.ties import Tie
from bakeoff.measure.statistics.outcomes import outcomes_of, read_outcomes
from judged import outcomes_in
from unit.core.field import make_candidate, make_exact, make_latency, rule, weigh


def tie_of(*candidates: Candidate, quality: float = 1.0) -> Tie:
    decision = rule(candidates, objective=weigh(quality, 1 - quality), resamples=2000)
    assert decision.outcome == "tie"
    assert decision.tie is not None
    return decision.tie


def repeat(candidate: Candidate, times: int) -> Candidate:
    """The same documents so many times: the difference stays, its error shrinks."""
    outcomes = {name: np.tile(values, times) for name, values in outcomes_of(outcomes_in(candidate)).items()}
    return candidate.replace(outcomes=read_outcomes(outcomes))


@pytest.mark.slow
def test_so_many_documents_as_are_said_to_be_enough_break_the_tie_and_far_fewer_do_not() -> None:
    one, two = make_candidate("one", 0.90), make_candidate("two", 0.895)
    tie = tie_of(one, two)
    assert (tie.now.documents, tie.now.repeats) == (200, 5)
    enough = tie.enough[0]
    assert enough.repeats == 5
    assert enough.documents is not None
    times = -(-enough.documents // 200)
    assert times > 1
    more = rule([repeat(one, times + 1), repeat(two, times + 1)], objective=weigh(1, 0), resamples=2000)
    assert (more.outcome, more.how) == ("winner", "clear")
    fewer = max(1, times // 2)
    less = rule([repeat(one, fewer), repeat(two, fewer)], objective=weigh(1, 0), resamples=2000)
    assert less.outcome == "tie"


def test_a_tie_of_speed_is_broken_by_processes_and_by_no_number_of_documents() -> None:
    one = make_candidate("one", latency={1: make_latency(5.00, 1)})
    for ms, seed in itertools.product((5.01, 5.02, 5.03), range(2, 6)):
        two = make_candidate("two", latency={1: make_latency(ms, seed)})
        decision = rule([one, two], objective=weigh(0, 1))
        if decision.tie and decision.tie.enough:
            (effort,) = decision.tie.enough
            assert effort.documents == 200
            assert effort.repeats > 5
            return
    pytest.fail("no pair of these is tied")


def test_exact_twins_are_told_apart_by_no_number_of_measurements() -> None:
    twins = [make_exact(name, hits=2, ms=5.0) for name in ("one", "two")]
    decision = rule(twins)
    assert decision.tie is not None
    assert decision.tie.enough == ()
    assert "no reasonable number of documents" in decision.reasons[1]


def test_twins_share_the_resamples_in_which_both_are_best() -> None:
    twins = [make_exact(name, hits=2, ms=5.0) for name in ("one", "two")]
    assert [row.p_best for row in rule(twins).standings] == [0.5, 0.5]


def test_a_tie_broken_by_speed_is_no_clear_win() -> None:
    one, two = make_candidate("one", 0.90, 5.2), make_candidate("two", 0.90, 5.0)
    broken = rule([one, two], when_tied="fastest", objective=weigh(0.99, 0.01))
    assert (broken.outcome, broken.how, broken.winner) == ("winner", "tie broken by speed", two.label)
    assert broken.tie is not None
    assert broken.tie.labels == (one.label, two.label)
    clear = rule([one, make_candidate("slow", 0.3, 50.0)], when_tied="fastest")
    assert (clear.how, clear.tie) == ("clear", None)
    reported = rule([one, two], objective=weigh(0.99, 0.01))
    assert (reported.outcome, reported.how) == ("tie", None)
    assert "repeats (you have 200 and 5), if the differences are as found" in reported.reasons[1]

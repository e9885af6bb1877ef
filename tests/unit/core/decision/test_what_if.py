"""What if: every place of the grid holds what ``decide`` finds with these settings."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision, decide, read_decision
from bakeoff.core.decision.what_if import WhatIf, choose_size
from bakeoff.disk.sealed import seal_json
from bakeoff.errors import DataError
from unit.report.conftest import make_candidate, make_field

P95 = {"kind": "latency", "batch_size": 1, "quantile": 0.95, "at_most_ms": 6}
FLOOR = {"kind": "quality", "at_least": 0.74}
CASES: dict[str, dict[str, Any]] = {
    "weights": {},
    "weights, the fastest of a tie": {"when_tied": "fastest"},
    "a share between the steps, a limit and a floor": {
        "objective": {"kind": "weighted", "weights": {"quality": 0.87, "latency": 0.13}},
        "constraints": [FLOOR, P95],
    },
    "anchors": {
        "objective": {
            "kind": "weighted",
            "anchors": {"quality": {"zero": 0.5, "one": 1}, "latency_ms": {"zero": 100, "one": 1}},
        }
    },
    "threshold": {"objective": {"kind": "lexicographic", "accuracy_threshold": 0.013}},
    "relative threshold": {
        "objective": {"kind": "lexicographic", "accuracy_threshold": 0.02, "threshold_scale": "relative"}
    },
    "speed alone": {"objective": {"kind": "fastest"}, "constraints": [FLOOR]},
}


def rule(candidates: list[Candidate], **settings: Any) -> Decision:
    return decide(candidates, DecisionSettings.model_validate({"resamples": 200} | settings))


def grid_of(decision: Decision) -> WhatIf:
    assert decision.what_if is not None
    return decision.what_if


@pytest.mark.parametrize("name", CASES)
def test_every_place_of_the_grid_is_what_decide_names_there(name: str) -> None:
    # The twin ties with the best one, so that ties are among the outcomes.
    field = make_field()
    candidates = [*field, field[1].replace(backbone="minilm-twin")]
    decision = rule(candidates, **CASES[name])
    grid = grid_of(decision)
    places = [(value, limit) for value in range(len(grid.found)) for limit in range(len(grid.limits_ms))]
    now = (grid.value_now, grid.limit_now)
    for value, limit in {now, *random.Random(name).sample(places, min(len(places), 24))}:
        moved = decide(candidates, grid.settings_at(decision.settings, value, limit))
        found = grid.outcomes[grid.found[value][limit]]
        labels = [row.label for row in decision.standings]

        def those(*numbers: int | None, labels: list[str] = labels) -> set[str]:
            return {labels[n] for n in numbers if n is not None}

        assert found.outcome == moved.outcome
        assert those(found.winner) == {row.label for row in moved.standings if row.place == "winner"}
        assert those(found.best_so_far) == {r.label for r in moved.standings if r.place == "best so far"}
        assert those(*found.tied) == {row.label for row in moved.standings if row.place == "tied"}
        assert those(*found.undecided) == {row.label for row in moved.standings if row.place == "undecided"}
        assert those(*found.excluded) == {row.label for row in moved.standings if row.place == "excluded"}
        shares = {round(row.p_best, 6) for row in moved.standings}
        assert grid.p_best[value][limit] in shares | ({0.0} if moved.outcome == "none" else set())
        if moved.winner is not None:
            (share,) = (row.p_best for row in moved.standings if row.place == "winner")
            assert grid.p_best[value][limit] == round(share, 6)
    assert grid.settings_at(decision.settings, *now) == decision.settings
    assert len({each.winner for each in grid.outcomes}) > 1


def test_the_grid_covers_what_a_reader_may_ask() -> None:
    grid = grid_of(rule(make_field(), constraints=[P95]))
    assert grid.moved == "quality share"
    assert grid.values == tuple(n / 20 for n in range(21))
    assert (grid.values[grid.value_now], grid.limits_ms[grid.limit_now]) == (0.8, 6)
    assert (grid.batch_size, grid.quantile, grid.limits_ms[-1]) == (1, 0.95, None)
    assert 10 <= len(grid.limits_ms) <= 13
    # The strictest limit excludes candidates that the loosest one does not.
    strict, loose = grid.outcomes[grid.found[10][0]], grid.outcomes[grid.found[10][-1]]
    assert len(strict.excluded) > len(loose.excluded) == 0


def test_a_floor_of_quality_alone_moves_nothing_but_the_limit() -> None:
    grid = grid_of(rule(make_field(), objective={"kind": "fastest"}))
    assert (grid.moved, grid.values, grid.value_now, len(grid.found)) == (None, (), 0, 1)


def test_one_candidate_has_no_grid() -> None:
    assert rule(make_field()[:1]).what_if is None


def test_a_grid_shrinks_with_the_number_of_draws_and_at_last_is_left_out() -> None:
    assert choose_size(2000 * 18) == (20, 11)
    assert choose_size(2000 * 200) == (20, 11)
    steps, limits = choose_size(100_000 * 18) or (0, 0)
    assert (steps, limits) == (5, 3)
    assert choose_size(100_000 * 200) is None


def test_a_grid_that_does_not_fit_its_decision_is_refused() -> None:
    decision = rule([make_candidate("a", "r", 0.8, 3.0), make_candidate("b", "r", 0.7, 5.0)])
    whole = decision.model_dump(mode="json")
    assert read_decision(seal_json(whole), "x") == decision
    for damage in (
        {"found": whole["what_if"]["found"][1:]},
        {"limit_now": 99},
        {"outcomes": [{"outcome": "winner", "winner": 2}] * len(whole["what_if"]["outcomes"])},
        {"found": [[77] * len(row) for row in whole["what_if"]["found"]]},
    ):
        document = {**whole, "what_if": {**whole["what_if"], **damage}}
        with pytest.raises(DataError, match="expected a file that `bakeoff decide` wrote"):
            read_decision(seal_json(document), "x")


def test_a_threshold_among_undecided_candidates_alone_is_no_crash() -> None:
    # The limit lies inside the interval of both.
    field = [make_candidate("a", "r", 0.8, 3.0), make_candidate("b", "r", 0.7, 3.0)]
    limit_ms = rule(field).standings[0].latency_ms.value
    limit = {"kind": "latency", "batch_size": 1, "quantile": 0.5, "at_most_ms": limit_ms}
    made = rule(field, objective={"kind": "lexicographic"}, constraints=[limit])
    assert (made.outcome, made.sensitivity) == ("undecided", ())

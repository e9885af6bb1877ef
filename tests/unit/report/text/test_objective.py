"""Objectives, sensitivity and production in words; and every objective through every output."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.costs import Costs
from bakeoff.core.decision.decide import Decision, decide
from bakeoff.core.decision.production import Production
from bakeoff.core.estimate import Estimate
from bakeoff.report import render_html, render_terminal
from bakeoff.report.notebook import show
from bakeoff.report.text import decision as decision_text
from bakeoff.report.text import objective
from bakeoff.report.text.units import format_difference, score_interval
from unit.outcomes import F1

DecisionMaker = Callable[..., Decision]
ANCHORS = {"quality": {"zero": 0.5, "one": 0.9}, "latency_ms": {"zero": 20.0, "one": 2.0}}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "weighted": {"kind": "weighted"},
    "anchored": {"kind": "weighted", "anchors": ANCHORS},
    "lexicographic": {"kind": "lexicographic", "accuracy_threshold": 0.05},
    "cost": {"kind": "cost"},
}


@pytest.fixture(params=OBJECTIVES)
def ruled(request: pytest.FixtureRequest, field: list[Candidate]) -> Decision:
    """A decision by each objective; the last candidate has no cost."""
    priced = [
        each.model_copy(update={"costs": Costs(cost_per_million=Estimate(value=n, low=n, high=n))})
        for n, each in enumerate(field[:-1], 1)
    ]
    made = DecisionSettings.model_validate(
        {"objective": OBJECTIVES[request.param], "price_per_hour": 1, "resamples": 200}
    )
    production = Production(model="m", version="3", benchmark_keys=field[0].benchmark_keys, reason="")
    return decide([*priced, field[-1]], made, production=production)


def text_of(decision: Decision) -> str:
    console = Console(file=io.StringIO(), width=300, highlight=False)
    console.print(render_terminal(decision))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_objective_is_told_on_terminal_page_and_notebook(ruled: Decision) -> None:
    terminal, page = text_of(ruled), render_html(ruled, {}, {})
    for line in (*objective.explain_objective(ruled), *objective.describe_sensitivity(ruled)):
        assert line in terminal
        assert line.replace("&", "&amp;") in page
    for line in decision_text.describe_production(ruled):
        assert line in terminal
        assert line in page
    name = objective.name_score(ruled.settings)
    assert name in terminal
    assert name.capitalize() in show(ruled).columns


def test_a_score_that_is_not_known_is_shown_as_absent(ruled: Decision) -> None:
    absent = [row for row in ruled.standings if row.score is None]
    assert bool(absent) == (ruled.settings.objective.kind == "cost")
    assert all(show(ruled).rows[ruled.standings.index(row)][4] == "–" for row in absent)


def test_a_tie_that_speed_broke_is_called_so_everywhere(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    twins = [field[1], field[1].model_copy(update={"backbone": "minilm-twin"})]
    broken = make_decision(twins, when_tied="fastest")
    assert broken.how == "tie broken by speed"
    assert text_of(broken).startswith(f"fastest of the tied  {broken.winner}\n")
    assert "Tied, and the fastest of the tied" in render_html(broken, {}, {})
    assert "The model to ship" not in render_html(broken, {}, {})
    assert show(broken).title == f"Fastest of the tied: {broken.winner}"


def test_production_that_is_not_measured_is_told_with_the_reason(
    make_decision: DecisionMaker, alone: Decision
) -> None:
    assert decision_text.describe_production(alone) == ()
    unknown = Production(model="m", version="3", reason="version 3 of m is not measured")
    told = make_decision().model_copy(update={"production": unknown})
    assert decision_text.describe_production(told) == ("In production: version 3 of m is not measured.",)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "+0.012"), (-0.0123, "-0.012"), (-0.0001, "0.000"), (0.0, "0.000")]
)
def test_a_difference_of_nothing_has_no_sign(value: float, text: str) -> None:
    assert format_difference(Estimate(value=value, low=value, high=value), F1) == text
    assert "-0.000" not in score_interval(Estimate(value=0, low=-0.0001, high=0.0001))

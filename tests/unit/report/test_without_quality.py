"""Decisions without quality, or with it for some: every output says so, and none draws what is not known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakeoff.core.decision.decide import Decision
from bakeoff.report import render_html
from bakeoff.report.figures.scatter import draw_plot
from bakeoff.report.notebook import show
from bakeoff.report.page.gates import list_gates
from bakeoff.report.text import decision as text
from bakeoff.report.text.objective import explain_objective
from judged import quality_of

from .page.test_html import Page, render
from .test_terminal import flat
from .test_terminal import show as show_on_terminal

SENTENCE = "uality was not measured: this ranking is by speed alone."
DecisionMaker = Callable[..., Decision]


def test_a_terminal_says_it_and_has_no_column_of_quality(blind: Decision) -> None:
    shown = show_on_terminal(blind)
    assert f"q{SENTENCE[:-1]}" in flat(shown)
    assert "Quality was not measured." in shown
    assert "F1" not in shown
    assert "Pareto" not in shown
    assert shown.splitlines()[0].rstrip() == f"winner  {blind.winner}"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_terminal_names_the_gaps_of_some(mixed: Decision, width: int) -> None:
    shown = flat(show_on_terminal(mixed, width=width))
    assert f"the quality of {' and '.join(sorted(mixed.without_quality))} was not measured" in shown
    cells = "not measured" if width > 100 else "not"
    assert shown.count(cells) > 2
    assert "◆ on the Pareto front" in shown
    assert f"{quality_of(mixed.standings[1]).value:.3f}" in shown


@pytest.mark.parametrize("name", ["blind", "mixed"])
def test_the_page_is_whole_and_says_it(request: pytest.FixtureRequest, name: str) -> None:
    decision: Decision = request.getfixturevalue(name)
    page = Page(render(decision))
    assert page.faults == []
    links = {each.attributes["href"] for each in page.elements if each.tag == "a"}
    ids = {f"#{each.attributes['id']}" for each in page.elements if "id" in each.attributes}
    assert links <= ids
    assert "None" not in page.text
    assert "not measured" in page.text


def test_a_page_without_quality_has_no_drawing_of_it(blind: Decision) -> None:
    html = render(blind)
    page = Page(html)
    assert f"Q{SENTENCE}" in page.text
    assert (
        "This page has no drawing of accuracy against latency, since quality was not measured." in page.text
    )
    assert 'class="plot' not in html
    assert page.text.count("F1") == 1  # its key figure
    assert "Pareto" not in page.text
    with pytest.raises(ValueError, match="has no plot"):
        draw_plot(blind, width=460, height=460)
    assert "Latency as a multiple of production" in page.text


def test_a_page_with_quality_of_some_draws_these_and_names_the_others(mixed: Decision) -> None:
    page = Page(render(mixed))
    judged = {row.label for row in mixed.standings if row.quality is not None}
    points = draw_plot(mixed, width=1040, height=560).points
    assert {point.standing.label for point in points} == judged
    missing = ", ".join(mixed.without_quality)
    assert f"Not drawn, since their quality was not measured: {missing}." in page.text
    row = next(each for each in page.rows() if each.startswith(str(mixed.standings[0].backbone)))
    assert " not measured " in row
    assert row.endswith("–")


def test_a_notebook_says_it(blind: Decision, mixed: Decision) -> None:
    shown = show(blind)
    assert f"Q{SENTENCE}" in shown.notes
    assert shown.columns[2] == "p50 latency, batch size 1, ms"
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    assert show(mixed).rows[0][2] == "not measured"


def test_the_gate_of_a_winner_without_quality_is_open(blind: Decision, mixed: Decision) -> None:
    for decision in (blind, mixed):
        chip = list_gates(decision)[0]
        assert (chip.text, chip.word, chip.result) == ("quality", "not measured", "cannot tell")


def test_only_a_gap_of_the_winner_is_a_gate(make_decision: DecisionMaker, mixed: Decision) -> None:
    tie = mixed.model_copy(update={"winner": mixed.standings[1].label})
    assert [chip.text for chip in list_gates(tie)] == ["all measurements"]
    open_ones = mixed.model_copy(update={"winner": None, "how": None, "outcome": "tie"})
    assert list_gates(open_ones)[0].text == "quality of 2 candidates"
    judged = make_decision(objective={"kind": "fastest"})
    assert [chip.text for chip in list_gates(judged)] == ["all measurements"]


def test_the_key_figures_do_not_hide_the_gap(blind: Decision, mixed: Decision) -> None:
    figure, *_, best = text.list_key_figures(blind)
    assert figure == ("F1", "not measured", "this ranking is by speed alone", "")
    assert best.note == "of 400 resamples of timings"
    assert text.list_key_figures(mixed)[0] == ("F1", "not measured", "", "")


def test_the_objective_says_what_quality_does(make_decision: DecisionMaker, blind: Decision) -> None:
    first = "The candidate with the least latency wins."
    assert explain_objective(blind) == (first, "Quality was not measured.")
    judged = make_decision(objective={"kind": "fastest"})
    assert explain_objective(judged) == (first, "F1 is shown, and does not count.")
    floor = {"kind": "quality", "at_least": 0.1}
    limited = make_decision(objective={"kind": "fastest"}, constraints=[floor])
    assert explain_objective(limited) == (first, "F1 counts only as a constraint.")


def test_sentences_compare_speed_alone_where_quality_is_missing(blind: Decision, mixed: Decision) -> None:
    for decision in (blind, mixed):
        (sentence,) = text.describe_trade_off(decision)
        assert sentence.startswith(f"The fastest of the others, {decision.standings[1].label}, is ")
        assert sentence.endswith(" slower.")
    known, distance = text.describe_production(blind)
    assert known.startswith("In production: ")
    assert distance.endswith(" the time; the difference in quality was not measured.")


def test_a_decision_by_speed_with_quality_shows_all_that_it_knows(make_decision: DecisionMaker) -> None:
    judged = make_decision(objective={"kind": "fastest"})
    page = Page(render_html(judged, {}, {}))
    assert page.faults == []
    assert "Accuracy against latency" in page.text
    assert "uality was not measured" not in page.text
    assert "bakeoff draws it 400 times from its interval" in page.text

"""The summary for a pull request: the decision's words in Markdown that no name can break out of."""

from __future__ import annotations

from bakeoff.core.decision.decide import Decision
from bakeoff.disk.digest import digest_json
from bakeoff.report.text.summary import render_summary
from unit.report.conftest import make_candidate, make_decision


def test_a_summary_names_winner_figures_reasons_and_how_sure_it_is(decision: Decision) -> None:
    versions = {"bakeoff": "0.1.0", "numpy": "2.4.0"}
    digest = digest_json(decision.replace(versions=versions).model_dump(mode="json"))
    text = render_summary(decision.replace(versions=versions))
    assert text.startswith(f"**bakeoff: {decision.winner}** – winner\n\n| place | candidate | F1 |")
    first = decision.standings[0]
    (row,) = (line for line in text.splitlines() if line.startswith("| winner |"))
    assert f"| {first.label} |" in row
    assert row.endswith("| ✓ met | ✓ met |")
    assert row.count("|") == text.splitlines()[2].count("|")
    assert f"- {first.label} has the best score (best in " in text
    assert "One percent more F1 is worth" in text
    assert "In brackets: 95% intervals. P(best): share of 400 resamples. Score 1 is minilm-l6" in text
    assert f". bakeoff 0.1.0, decision {digest[:12]}</sub>" in text


def test_of_many_candidates_the_first_ten_are_listed(crowd: Decision) -> None:
    lines = render_summary(crowd).splitlines()
    assert sum(line.startswith("| ") for line in lines) == 1 + 10
    assert "and 30 more candidates" in lines


def test_a_tie_says_what_would_break_it(tie: Decision) -> None:
    text = render_summary(tie)
    assert text.startswith("**bakeoff: A tie between 2 candidates** – no clear winner\n")
    assert "are statistically tied" in text


def test_names_break_out_of_no_cell_and_notify_no_team() -> None:
    name = "a|b @team #12 <img src=x> [x](http://e)"
    text = render_summary(
        make_decision([make_candidate(name, "r", 0.8, 3.0), make_candidate("b", "r", 0.7, 2.0)])
    )
    assert "@team" not in text
    assert "<img" not in text
    assert "](http://" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1

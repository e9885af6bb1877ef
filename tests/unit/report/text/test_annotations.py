"""A decision as annotations of GitHub Actions."""

from __future__ import annotations

from urllib.parse import unquote

from bakeoff.core.decision.decide import Decision
from bakeoff.core.records import Flag
from bakeoff.report.text.annotations import annotate


def read(line: str) -> tuple[str, str, str]:
    """Level, title and message, as the runner reads them."""
    head, message = line.removeprefix("::").split("::", 1)
    level, title = head.split(" title=", 1)
    return level, unquote(title), unquote(message)


def test_a_winner_is_a_notice_with_its_figures(decision: Decision) -> None:
    assert decision.is_pass
    level, title, message = read(annotate(decision)[0])
    assert (level, title) == ("notice", f"bakeoff: {decision.winner}")
    assert message.startswith("F1 0.")
    assert " ms [" in message


def test_no_winner_is_an_error_and_a_tie_a_warning(nobody: Decision, tie: Decision) -> None:
    assert read(annotate(nobody)[0])[:2] == ("error", "bakeoff: No winner")
    assert read(annotate(tie)[0])[:2] == ("warning", "bakeoff: A tie between 2 candidates")


def test_a_winner_on_a_busy_machine_is_a_warning_with_the_candidate(decision: Decision) -> None:
    busy = decision.replace(not_done=(decision.reference,))
    found = [read(line) for line in annotate(busy)]
    assert found[0][0] == "warning"
    assert ("warning", f"bakeoff: {decision.reference}") in [line[:2] for line in found]


def test_a_text_from_outside_makes_no_annotation_of_its_own(decision: Decision) -> None:
    flag = Flag(name="contended", detail="100% of\r\n::error title=a,b::forged")
    winner = decision.standings[0].replace(flags=(flag,))
    spoilt = decision.replace(
        standings=(winner, *decision.standings[1:]), incomplete=("late × torch: 5% read,\nthen: nothing",)
    )
    lines = annotate(spoilt)
    assert all(line.count("\n") + line.count("\r") == 0 for line in lines)
    (line,) = (line for line in lines if "forged" in line)
    assert "%0A::error title=a,b::forged" in line
    assert line.startswith("::warning title=bakeoff%3A ")
    assert "100%25 of" in line
    (other,) = (line for line in lines if "not ranked" in line)
    assert other == "::warning title=bakeoff%3A not ranked::late × torch: 5%25 read,%0Athen: nothing"

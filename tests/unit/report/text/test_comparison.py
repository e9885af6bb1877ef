"""A comparison in text: Markdown that no label can break out of, and a terminal that no label can paint."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bakeoff.core.comparison.compare import Comparison, Pair, SideFacts
from bakeoff.core.comparison.gate import ComparisonSettings, MetricComparison
from bakeoff.core.estimate import Estimate
from bakeoff.report.text.comparison import escape_markdown, render_comparison, render_markdown
from unit.outcomes import F1

GOLDEN = Path(__file__).parents[3] / "golden" / "compare_markdown.txt"
HOSTILE = (
    "a|b `c` @team <img src=x onerror=alert(1)> [x](https://evil.example) ![i](http://e/i.png) #12 "
    "**bold** _it_ ~~s~~ $x$ \\| www.evil.example \x1b[31mred\nnext | row &amp; &#64;team"
)


def make_comparison(label: str) -> Comparison:
    facts = SideFacts(
        label=label,
        keys={"latency": "k"},
        attempts={"latency": 2},
        measured_at={"latency": "2026-01-02T00:00:00+00:00"},
    )
    lines = (
        MetricComparison(
            metric="latency",
            what="latency p50, batch 1",
            unit="ms",
            baseline=Estimate(value=8.0, low=7.9, high=8.2),
            candidate=Estimate(value=8.8, low=8.7, high=None),
            change=Estimate(value=1.1, low=1.08, high=1.12),
            basis="same rounds",
            verdict="worse",
            gate="fail",
        ),
        MetricComparison(
            metric="quality",
            what="quality, F1",
            unit="quality",
            quality=F1,
            scale="points",
            margin=1.0,
            change=Estimate(value=-0.5, low=-1.5, high=0.25),
            verdict="cannot tell",
            remark=f"{label}: no quality measurement",
        ),
        MetricComparison(
            metric="size",
            what="size of the model",
            unit="bytes",
            baseline=Estimate(value=2**20, low=2**20, high=2**20),
            candidate=Estimate(value=2**11, low=2**11, high=2**11),
            change=Estimate(value=2**-9, low=2**-9, high=None),
            verdict="better",
            gate=None,
        ),
    )
    return Comparison(
        outcome="fail",
        pairs=(Pair(baseline=facts, candidate=facts, lines=lines),),
        lacking=(label,),
        remarks=(f"winner: {label} → none",),
        confidence=0.975,
        settings=ComparisonSettings(),
    )


def test_markdown_of_hostile_labels_is_as_it_always_was() -> None:
    assert render_markdown(make_comparison(HOSTILE)) == GOLDEN.read_text(encoding="utf-8")


def test_no_label_adds_a_row_a_cell_or_a_line() -> None:
    plain, hostile = (render_markdown(make_comparison(label)) for label in ("plain", HOSTILE))
    assert hostile.count("\n") == plain.count("\n")

    def cells(text: str) -> list[int]:
        return [line.replace("\\\\", "").replace("\\|", "").count("|") for line in text.splitlines()]

    assert cells(hostile) == cells(plain)


@pytest.mark.parametrize("mark", ["`", "*", "_", "[", "]", "|", "~", "$", "!", "\\"])
def test_every_mark_is_escaped(mark: str) -> None:
    assert escape_markdown(f"x{mark}y") == f"x\\{mark}y"


@pytest.mark.parametrize("text", ["@team", "#12", "<b>", "&#64;team", "https://x", "www.x", "a@b.example"])
def test_nothing_is_left_that_a_site_makes_a_link_a_tag_or_a_call_of(text: str) -> None:
    escaped = escape_markdown(text)
    assert text not in escaped
    for live in ("@t", "@b", "#1", "<", "&#64;", "://", "www."):
        assert live not in escaped.replace("&#8203;", "\u200b").replace("&amp;", "").replace("&lt;", "")


def test_the_terminal_shows_labels_without_sequences_and_without_markup() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(render_comparison(make_comparison("[bold]x[/bold]\x1b[31m")))
    text = console.export_text()
    assert "[bold]x[/bold] (latency attempt 2 of 2026-01-02" in text
    assert "\x1b" not in text
    assert "fail: a regression; its whole interval is past the margin" in text
    assert "1.100× [1.080, 1.120]" in text
    assert "-0.50 points [-1.50, +0.25]" in text
    assert "1.95e-03× [1.95e-03, ∞)" in text

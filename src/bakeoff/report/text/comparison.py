"""A comparison in text: on the terminal, and as Markdown for a comment on a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bakeoff.report.text.markdown import escape_markdown
from bakeoff.report.text.units import ABSENT, clean, format_bytes, format_f1, format_latency

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bakeoff.core.comparison.compare import Comparison, Pair, SideFacts
    from bakeoff.core.comparison.gate import GateResult, MetricComparison
    from bakeoff.core.estimate import Estimate

HEADLINES: dict[GateResult, str] = {
    "pass": "no regression past the margin",
    "fail": "a regression past the margin, with the whole interval",
    "cannot tell": "the measurements do not tell whether the margin is kept",
}
COLUMNS = ("quantity", "baseline", "candidate", "change", "verdict", "gate")
_STYLE: dict[GateResult | None, str] = {
    "pass": "green",
    "fail": "bold red",
    "cannot tell": "yellow",
    None: "dim",
}


class ComparisonRow(NamedTuple):
    """A line as text, its unit told with the quantity."""

    quantity: str
    baseline: str
    candidate: str
    change: str
    verdict: str
    gate: str


def render_comparison(comparison: Comparison) -> RenderableType:
    """The comparison as a rich renderable; it says the same without colour."""
    style = _STYLE[comparison.outcome]
    headline = f"{comparison.outcome}: {HEADLINES[comparison.outcome]}"
    parts: list[RenderableType] = [Text(headline, style=style)]
    for pair in comparison.pairs:
        parts += [
            Text(),
            *(Text(clean(line), overflow="fold") for line in describe_sides(pair)),
            _table(pair),
        ]
    lines = list_remarks(comparison)
    if lines:
        parts.append(Text())
    parts += [Padding(Text(clean(f"· {line}"), overflow="fold"), (0, 0, 0, 2)) for line in lines]
    return Group(*parts, Text(f"\n{describe_margins(comparison)}", style="dim"))


def render_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown; what comes from outside is escaped."""
    lines = [f"**bakeoff compare: {comparison.outcome}** – {HEADLINES[comparison.outcome]}"]
    for pair in comparison.pairs:
        lines += ["", "<br>\n".join(escape_markdown(line) for line in describe_sides(pair)), ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(map(escape_markdown, _row(line)))} |" for line in pair.lines]
    remarks = list_remarks(comparison)
    lines += ["", *(f"- {escape_markdown(line)}" for line in remarks)] if remarks else []
    return "\n".join([*lines, "", f"<sub>{escape_markdown(describe_margins(comparison))}</sub>"]) + "\n"


def describe_sides(pair: Pair) -> tuple[str, str]:
    """Which measurements stand for either side."""
    return f"baseline: {_side(pair.baseline)}", f"candidate: {_side(pair.candidate)}"


def list_remarks(comparison: Comparison) -> list[str]:
    """What a reader must know beside the figures."""
    n_pairs = len(comparison.pairs)
    lines = [*comparison.remarks]
    lines += [f"{label}: not in the candidate" for label in comparison.lacking]
    lines += [f"{label}: new, nothing to compare it with" for label in comparison.new]
    for pair in comparison.pairs:
        whose = f"{pair.candidate.label}, " if n_pairs > 1 else ""
        lines += [f"{whose}{line.what}: {line.remark}" for line in pair.lines if line.remark]
    return lines


def describe_margins(comparison: Comparison) -> str:
    """What the gate was set to."""
    settings = comparison.settings
    return (
        f"Margin {settings.margin * 100:g}% of time, memory and size, {settings.quality_margin:g} points of "
        f"F1. All intervals hold together with {settings.confidence * 100:g}%. Change: candidate ÷ baseline, "
        "of F1 candidate − baseline."
    )


def _side(side: SideFacts) -> str:
    if not side.attempts:
        return f"{side.label} (no measurement)"
    measured = ", ".join(
        f"{kind} attempt {number} of {side.measured_at[kind]}" for kind, number in side.attempts.items()
    )
    return f"{side.label} ({measured})"


def _table(pair: Pair) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for line in pair.lines:
        table.add_row(*(Text(clean(cell), style=_STYLE[line.gate]) for cell in _row(line)))
    return table


def _row(line: MetricComparison) -> ComparisonRow:
    return ComparisonRow(
        quantity=f"{line.what}, ms" if line.unit == "ms" else line.what,
        baseline=_value(line, line.baseline),
        candidate=_value(line, line.candidate),
        change=_change(line),
        verdict=line.verdict,
        gate=line.gate or ABSENT,
    )


def _value(line: MetricComparison, estimate: Estimate | None) -> str:
    if estimate is None:
        return ABSENT
    if line.unit == "bytes":
        return format_bytes(estimate.value)
    return format_latency(estimate) if line.unit == "ms" else format_f1(estimate)


def _change(line: MetricComparison) -> str:
    if line.change is None:
        return ABSENT
    if line.scale == "ratio":
        high = f"{_ratio(line.change.high)}]" if line.change.high is not None else "∞)"
        return f"{_ratio(line.change.value)}× [{_ratio(line.change.low)}, {high}"
    high = f"{line.change.high:+.2f}]" if line.change.high is not None else "∞)"
    return f"{line.change.value:+.2f} points [{line.change.low:+.2f}, {high}"


def _ratio(value: float) -> str:
    """Three decimals; what is far from 1 by its power of ten."""
    return f"{value:.3f}" if 0.1 <= value < 1000 or not value else f"{value:.2e}"

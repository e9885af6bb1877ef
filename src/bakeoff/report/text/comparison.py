"""A comparison in text: on the terminal, and as Markdown for a comment on a pull request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bakeoff.plural import count
from bakeoff.report.text.units import (
    ABSENT,
    clean,
    difference_interval,
    format_bytes,
    format_difference,
    format_latency,
    quality_with_interval,
    shorten_ids,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from bakeoff.core.comparison.compare import Comparison, Pair, SideFacts
    from bakeoff.core.comparison.gate import GateResult, MetricComparison
    from bakeoff.core.estimate import Estimate

HEADLINES: dict[GateResult, str] = {
    "pass": "no regression past the margin",
    "fail": "a regression; its whole interval is past the margin",
    "cannot tell": "the measurements do not show whether the margin is kept",
}
COLUMNS = ("quantity", "baseline", "candidate", "change", "verdict", "gate")
_STYLE: dict[GateResult | None, str] = {
    "pass": "green",
    "fail": "bold red",
    "cannot tell": "yellow",
    None: "dim",
}


class ComparisonRow(NamedTuple):
    """A line as text; the quantity names the unit."""

    quantity: str
    baseline: str
    candidate: str
    change: str
    verdict: str
    gate: str


def render_comparison(comparison: Comparison) -> RenderableType:
    """Render the comparison for a terminal; it says the same without colour."""
    style = _STYLE[comparison.outcome]
    headline = f"{comparison.outcome}: {HEADLINES[comparison.outcome]}"
    parts: list[RenderableType] = [Text(headline, style=style)]
    for pair in comparison.pairs:
        parts += [
            Text(),
            *(Text(shorten_ids(clean(line)), overflow="fold") for line in describe_sides(pair)),
            _table(pair),
        ]
    lines = list_remarks(comparison)
    if lines:
        parts.append(Text())
    shown = [Text(shorten_ids(clean(f"· {line}")), overflow="fold") for line in lines]
    parts += [Padding(line, (0, 0, 0, 2)) for line in shown]
    return Group(*parts, Text(f"\n{describe_margins(comparison)}", style="dim"))


def render_markdown(comparison: Comparison) -> str:
    """Render the comparison as Markdown; text from outside is escaped."""
    lines = [f"**bakeoff compare: {comparison.outcome}** – {HEADLINES[comparison.outcome]}"]
    for pair in comparison.pairs:
        lines += ["", "<br>\n".join(escape_markdown(line) for line in describe_sides(pair)), ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(map(escape_markdown, _row(line)))} |" for line in pair.lines]
    remarks = list_remarks(comparison)
    lines += ["", *(f"- {escape_markdown(line)}" for line in remarks)] if remarks else []
    return "\n".join([*lines, "", f"<sub>{escape_markdown(describe_margins(comparison))}</sub>"]) + "\n"


def describe_sides(pair: Pair) -> tuple[str, str]:
    """Name the measurements of either side."""
    return f"baseline: {_side(pair.baseline)}", f"candidate: {_side(pair.candidate)}"


def list_remarks(comparison: Comparison) -> list[str]:
    """List what a reader must know in addition to the figures."""
    n_pairs = len(comparison.pairs)
    lines = [*comparison.remarks]
    lines += [f"{label}: not in the candidate" for label in comparison.lacking]
    lines += [f"{label}: not in the baseline" for label in comparison.new]
    for pair in comparison.pairs:
        label = f"{pair.candidate.label}, " if n_pairs > 1 else ""
        lines += [f"{label}{line.what}: {line.remark}" for line in pair.lines if line.remark]
    return lines


def describe_margins(comparison: Comparison) -> str:
    """Describe the settings of the gate."""
    settings, of_quality = comparison.settings, _describe_quality_margin(comparison)
    name = next((line.quality.label for line in _lines_of_quality(comparison) if line.quality), "quality")
    return (
        f"Margin: {settings.margin * 100:g}% of time, memory and size{of_quality}. "
        f"All intervals hold together with {settings.confidence * 100:g}% confidence. "
        f"Change: candidate ÷ baseline; for {name}, candidate − baseline."
    )


def _describe_quality_margin(comparison: Comparison) -> str:
    """Describe the allowed loss of quality; empty if no quality was compared."""
    for line in _lines_of_quality(comparison):
        if line.quality is not None and line.margin is not None:
            if line.scale == "points":
                return f"; {count(line.margin, 'point')} of {line.quality.label}"
            side = "less" if line.quality.more_is_better else "more"
            return f"; {line.margin:g} {side} {line.quality.label}" if line.margin else ""
    return ""


def _lines_of_quality(comparison: Comparison) -> Iterator[MetricComparison]:
    return (line for pair in comparison.pairs for line in pair.lines if line.metric == "quality")


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
    if line.unit == "ms" or line.quality is None:
        return format_latency(estimate)
    return quality_with_interval(estimate, line.quality)


def _change(line: MetricComparison) -> str:
    if line.change is None:
        return ABSENT
    if line.scale == "ratio":
        high = f"{_ratio(line.change.high)}]" if line.change.high is not None else "∞)"
        return f"{_ratio(line.change.value)}× [{_ratio(line.change.low)}, {high}"
    if line.scale == "units" and line.quality is not None:
        shown = line.change, line.quality
        return f"{format_difference(*shown)} {difference_interval(*shown)}"
    high = f"{line.change.high:+.2f}]" if line.change.high is not None else "∞)"
    return f"{line.change.value:+.2f} points [{line.change.low:+.2f}, {high}"


def _ratio(value: float) -> str:
    """Format with three decimals, or with a power of ten if far from 1."""
    return f"{value:.3f}" if 0.1 <= value < 1000 or not value else f"{value:.2e}"


_MARKUP = re.compile(r"([\\`*_\[\]|~$!])")
# Sites turn "@name" and "#12" into links and notifications after they decode entities and backslashes. Only a
# character of no width between the two stops them.
_NO_WIDTH = "&#8203;"


def escape_markdown(text: str) -> str:
    """Escape one line for a table cell in a comment on a pull request."""
    escaped = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _MARKUP.sub(r"\\\1", escaped)
    escaped = escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
    return re.sub(r"([@#])(?!\d+;)", rf"\1{_NO_WIDTH}", escaped)

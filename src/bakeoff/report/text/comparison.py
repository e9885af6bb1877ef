"""A contrast for eyes: on the terminal, and as Markdown for a comment on a pull request."""

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

    from bakeoff.core.comparison.compare import Contrast, Pair, SideFacts
    from bakeoff.core.comparison.gate import Gate, Line
    from bakeoff.core.estimate import Estimate

HEADLINES: dict[Gate, str] = {
    "pass": "no regression past the margin",
    "fail": "a regression past the margin, with the whole interval",
    "cannot tell": "the measurements do not tell whether the margin is kept",
}
COLUMNS = ("quantity", "baseline", "contender", "change", "verdict", "gate")
_STYLE: dict[Gate | None, str] = {"pass": "green", "fail": "bold red", "cannot tell": "yellow", None: "dim"}


class Row(NamedTuple):
    """A line as text, its unit told with the quantity."""

    quantity: str
    baseline: str
    contender: str
    change: str
    verdict: str
    gate: str


def render_contrast(contrast: Contrast) -> RenderableType:
    """The contrast as a rich renderable; it says the same without colour."""
    style = _STYLE[contrast.outcome]
    parts: list[RenderableType] = [Text(f"{contrast.outcome}: {HEADLINES[contrast.outcome]}", style=style)]
    for pair in contrast.pairs:
        parts += [
            Text(),
            *(Text(clean(line), overflow="fold") for line in describe_sides(pair)),
            _table(pair),
        ]
    lines = list_remarks(contrast)
    if lines:
        parts.append(Text())
    parts += [Padding(Text(clean(f"· {line}"), overflow="fold"), (0, 0, 0, 2)) for line in lines]
    return Group(*parts, Text(f"\n{describe_margins(contrast)}", style="dim"))


def render_markdown(contrast: Contrast) -> str:
    """The contrast as Markdown; what comes from outside is escaped."""
    lines = [f"**bakeoff compare: {contrast.outcome}** – {HEADLINES[contrast.outcome]}"]
    for pair in contrast.pairs:
        lines += ["", "<br>\n".join(escape_markdown(line) for line in describe_sides(pair)), ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += [f"| {' | '.join(map(escape_markdown, _row(line)))} |" for line in pair.lines]
    remarks = list_remarks(contrast)
    lines += ["", *(f"- {escape_markdown(line)}" for line in remarks)] if remarks else []
    return "\n".join([*lines, "", f"<sub>{escape_markdown(describe_margins(contrast))}</sub>"]) + "\n"


def describe_sides(pair: Pair) -> tuple[str, str]:
    """Which measurements stand for either side."""
    return f"baseline: {_side(pair.baseline)}", f"contender: {_side(pair.contender)}"


def list_remarks(contrast: Contrast) -> list[str]:
    """What a reader must know beside the figures."""
    n_pairs = len(contrast.pairs)
    lines = [*contrast.remarks]
    lines += [f"{label}: not in the contender" for label in contrast.lacking]
    lines += [f"{label}: new, nothing to compare it with" for label in contrast.new]
    for pair in contrast.pairs:
        whose = f"{pair.contender.label}, " if n_pairs > 1 else ""
        lines += [f"{whose}{line.what}: {line.remark}" for line in pair.lines if line.remark]
    return lines


def describe_margins(contrast: Contrast) -> str:
    """What the gate was set to."""
    settings = contrast.settings
    return (
        f"Margin {settings.margin * 100:g}% of time, memory and size, {settings.quality_margin:g} points of "
        f"F1. All intervals hold together with {settings.confidence * 100:g}%. Change: contender ÷ baseline, "
        "of F1 contender − baseline."
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


def _row(line: Line) -> Row:
    return Row(
        quantity=f"{line.what}, ms" if line.unit == "ms" else line.what,
        baseline=_value(line, line.baseline),
        contender=_value(line, line.contender),
        change=_change(line),
        verdict=line.verdict,
        gate=line.gate or ABSENT,
    )


def _value(line: Line, estimate: Estimate | None) -> str:
    if estimate is None:
        return ABSENT
    if line.unit == "bytes":
        return format_bytes(estimate.value)
    return format_latency(estimate) if line.unit == "ms" else format_f1(estimate)


def _change(line: Line) -> str:
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

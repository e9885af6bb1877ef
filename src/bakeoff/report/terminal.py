"""The decision on a terminal: verdict, standings, constraints, reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bakeoff.plural import count
from bakeoff.report.text.costs import list_costs
from bakeoff.report.text.decision import (
    MET_MARK,
    describe_constraint,
    describe_contention,
    describe_production,
    describe_trade_off,
    headline,
    name_quality,
    quality_cells,
)
from bakeoff.report.text.flags import group_flags
from bakeoff.report.text.objective import describe_sensitivity, explain_objective, name_score, name_unit
from bakeoff.report.text.rates import explain_rates, list_rates
from bakeoff.report.text.units import (
    ABSENT,
    clean,
    format_latency,
    format_number_of_ms,
    format_percent,
    latency_interval,
    shorten_ids,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from bakeoff.core.config.settings import DecisionSettings
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.ranking import Place
    from bakeoff.core.decision.standings import Standing

FRONT_MARK = "◆"
_STYLE: dict[Place, str] = {
    "winner": "bold green",
    "best so far": "bold",
    "tied": "bold",
    "undecided": "",
    "beaten": "",
    "excluded": "dim",
}
_UNSETTLED = "bold yellow"  # of a headline without a winner


@dataclass(frozen=True)
class _ByWidth:
    """A table, or its narrow form if the terminal would break a word or a number of the table.

    Attributes:
        wide: Table that may wrap between the words of its labels, the column with a ratio.
        narrow: Narrow form.
    """

    wide: Table
    narrow: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        (labels,) = (column for column in self.wide.columns if column.ratio)
        labels.max_width = max(len(word) for cell in labels.cells for word in str(cell).split())
        least = self.wide.__rich_measure__(console, options).maximum
        labels.max_width = None
        yield self.wide if least <= options.max_width else self.narrow


def render_terminal(decision: Decision) -> RenderableType:
    """Render the decision for a terminal, best with 100 columns; it says the same without colour.

    Names come from outside: they are never read as markup, and hold no terminal sequences when they get here.
    """
    parts: list[RenderableType] = [_verdict(decision)]
    parts += [Padding(Text(clean(line)), (0, 0, 0, 8)) for line in describe_trade_off(decision)]
    parts += [Text(), _ByWidth(_standings(decision), _narrow_standings(decision)), _key(decision)]
    if any(row.costs for row in decision.standings):
        parts += [Text(), _ByWidth(_costs(decision), _list_costs(decision))]
    if list_rates(decision, decision.standings[0]):
        parts += [Text(), _ByWidth(_rates(decision), _list_rates(decision))]
        parts += [Text(line, style="dim") for line in explain_rates(decision)]
    if decision.settings.constraints:
        parts += [_heading("Constraints"), *map(_item, _constraint_lines(decision))]
    parts += [_heading("Reasons"), *map(_item, decision.reasons)]
    parts += [_item(f"{row.label}: {row.reason}") for row in decision.standings if row.place != "winner"]
    more = (
        ("Objective", explain_objective(decision)),
        ("How far the settings can move", describe_sensitivity(decision)),
        ("Production", describe_production(decision)),
    )
    for heading, lines in more:
        parts += [_heading(heading), *map(_item, lines)] if lines else []
    flags = group_flags(decision)
    if flags:
        parts.append(_heading("Flags"))
        for flag in flags:
            is_all = len(flag.candidates) == len(decision.standings) > 1
            labels = "all" if is_all else ", ".join(flag.candidates)
            n_more = len(flag.details) - 1
            others = f", and {n_more} like it" if n_more else ""
            parts.append(_item(f"{flag.name}: {flag.details[0].detail}{others} ({labels})"))
    return Group(*parts)


def _verdict(decision: Decision) -> Text:
    """Only a winner is green."""
    word = {"clear": "winner  ", "tie broken by speed": "fastest of the tied  ", None: ""}[decision.how]
    text = Text(word, style=_STYLE["winner"])
    return text.append(clean(headline(decision)), style="bold" if decision.winner else _UNSETTLED)


def _make_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def _standings(decision: Decision) -> Table:
    settings = decision.settings
    table = _make_table("", "place")
    table.add_column("candidate", overflow="fold", ratio=1)
    for name in name_quality(decision):
        table.add_column(name, no_wrap=True)
    table.add_column(_name_latency(settings), no_wrap=True)
    table.add_column(name_score(settings), justify="right", no_wrap=True)
    table.add_column("P(best)", justify="right", no_wrap=True)
    for row in decision.standings:
        cells = (
            FRONT_MARK if row.is_on_front else " ",
            row.place,
            clean(row.label),
            *quality_cells(decision, row),
            format_latency(row.latency_ms),
            f"{row.score.value:.3f}" if row.score else ABSENT,
            format_percent(row.p_best),
        )
        table.add_row(*(Text(cell, style=_STYLE[row.place]) for cell in cells))
    return table


def _narrow_standings(decision: Decision) -> Table:
    """Draw place, intervals and P(best) below label, figures and score."""
    settings = decision.settings
    table = _make_table("")
    table.add_column("candidate", overflow="fold", ratio=1)
    for name in name_quality(decision):
        table.add_column(name, no_wrap=True)
    table.add_column(_name_latency(settings).replace(", ", ",\n"))
    table.add_column(f"{name_score(settings)}\nP(best)", justify="right", no_wrap=True)
    for row in decision.standings:
        cells = (
            FRONT_MARK if row.is_on_front else " ",
            f"{clean(row.label)}\n{row.place}",
            *(cell.replace(" ", "\n", 1) for cell in quality_cells(decision, row)),
            f"{format_number_of_ms(row.latency_ms.value)}\n{latency_interval(row.latency_ms)}",
            f"{f'{row.score.value:.3f}' if row.score else ABSENT}\n{format_percent(row.p_best)}",
        )
        table.add_row(*(Text(cell, style=_STYLE[row.place]) for cell in cells))
    return table


def _name_latency(settings: DecisionSettings) -> str:
    return f"p{settings.quantile * 100:g} ms, batch {settings.batch_size}"


def _costs(decision: Decision) -> Table:
    """Draw the costs; money only if a price is set."""
    table = _make_table()
    table.add_column("costs", overflow="fold", ratio=1)
    for column in list_costs(decision, decision.standings[0], is_brief=True):
        table.add_column(column.name, justify="right", no_wrap=True)
    for row in decision.standings:
        cells = (clean(row.label), *(figure.value for figure in list_costs(decision, row, is_brief=True)))
        table.add_row(*(Text(cell, style=_STYLE[row.place]) for cell in cells))
    return table


def _list_costs(decision: Decision) -> RenderableType:
    return _list_figures(
        "costs",
        decision,
        lambda row: [(each.name, each.value) for each in list_costs(decision, row, is_brief=True)],
    )


def _rates(decision: Decision) -> Table:
    """Draw throughput and serving, each interval below its figure: side by side they need 130 columns."""
    table = _make_table()
    table.add_column("rates", overflow="fold", ratio=1)
    for column in list_rates(decision, decision.standings[0]):
        table.add_column(column.name, justify="right", no_wrap=True)
    for row in decision.standings:
        cells = (f"{each.value}\n{each.interval}".strip() for each in list_rates(decision, row))
        table.add_row(*(Text(cell, style=_STYLE[row.place]) for cell in (clean(row.label), *cells)))
    return table


def _list_rates(decision: Decision) -> RenderableType:
    return _list_figures(
        "rates",
        decision,
        lambda row: [(each.name, f"{each.value} {each.interval}") for each in list_rates(decision, row)],
    )


def _list_figures(
    heading: str, decision: Decision, read: Callable[[Standing], Sequence[tuple[str, str]]]
) -> RenderableType:
    """Draw figures one below the other, for a terminal without room for a table."""
    lines = [Text(heading, style="bold")]
    for row in decision.standings:
        lines.append(Text(clean(row.label), style=_STYLE[row.place]))
        lines += [Text(f"  {name}: {value.strip()}", style=_STYLE[row.place]) for name, value in read(row)]
    return Group(*lines)


def _key(decision: Decision) -> Text:
    settings = decision.settings
    front = f"{FRONT_MARK} on the Pareto front: no other is certain to be at least as good and as fast. "
    held = f"Intervals hold with {settings.confidence * 100:g}% confidence; {clean(name_unit(decision))}."
    first = f"{front if decision.has_quality else ''}{held}"
    return Text("\n".join((first, *_contention_lines(decision))), style="dim")


def _contention_lines(decision: Decision) -> Iterator[str]:
    """Explain a busy machine, each sentence with its candidates."""
    busy = [row for row in decision.standings if row.is_contended]
    by_cpu = [row for row in busy if row.clock == "CPU time"]
    for sentence, rows in zip(describe_contention(decision), (busy, by_cpu), strict=False):
        is_all = len(rows) == len(decision.standings) > 1
        yield f"{sentence} Applies to {'all' if is_all else clean(', '.join(row.label for row in rows))}."


def _constraint_lines(decision: Decision) -> Iterator[str]:
    """Write each constraint once, with the candidates that are not certain to meet it."""
    for number, limit in enumerate(decision.settings.constraints):
        results = [(row.label, row.constraints[number]) for row in decision.standings]
        n_met = sum(result.result == "met" for _, result in results)
        met_by = f"met by {n_met} of {count(len(results), 'candidate')}"
        yield f"{describe_constraint(limit, decision.metric)}: {met_by}"
        for label, result in results:
            if result.result != "met":
                yield f"  {MET_MARK[result.result]} {label}: {result.result}: {result.text}"


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _item(line: str) -> RenderableType:
    """Draw a line with its continuation indented further than its beginning."""
    depth = len(line) - len(line.lstrip())
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text("·" if depth == 0 else " "), Text(shorten_ids(clean(line.strip()))))
    return Padding(grid, (0, 0, 0, 2 + depth))

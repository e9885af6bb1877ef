"""The decision on a terminal: verdict, standings, constraints, reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bakeoff.report.text.costs import list_costs
from bakeoff.report.text.decision import (
    MET_MARK,
    describe_constraint,
    describe_contention,
    describe_production,
    describe_trade_off,
    headline,
)
from bakeoff.report.text.flags import group_flags
from bakeoff.report.text.objective import describe_sensitivity, explain_objective, name_score, name_unit
from bakeoff.report.text.rates import explain_rates, list_rates
from bakeoff.report.text.units import ABSENT, clean, count, format_f1, format_latency, format_percent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.ranking import Place

FRONT_MARK = "◆"
_STYLE: dict[Place, str] = {
    "winner": "bold green",
    "best so far": "bold",
    "tied": "bold",
    "undecided": "",
    "beaten": "",
    "excluded": "dim",
}


def render_terminal(decision: Decision) -> RenderableType:
    """The decision as a rich renderable for 100 columns; it says the same without colour.

    Names come from outside: they are never read as markup, and hold no terminal sequences when they get here.
    """
    parts: list[RenderableType] = [_verdict(decision)]
    parts += [Padding(Text(clean(line)), (0, 0, 0, 8)) for line in describe_trade_off(decision)]
    parts += [Text(), _standings(decision), _key(decision)]
    if any(row.costs for row in decision.standings):
        parts += [Text(), _costs(decision)]
    if list_rates(decision, decision.standings[0]):
        parts += [Text(), _rates(decision), *(Text(line, style="dim") for line in explain_rates(decision))]
    if decision.settings.constraints:
        parts += [_heading("Constraints"), *map(_item, _constraint_lines(decision))]
    parts += [_heading("Reasons"), *map(_item, decision.reasons)]
    parts += [_item(f"{row.label}: {row.reason}") for row in decision.standings if row.place != "winner"]
    more = (
        ("Objective", explain_objective(decision.settings)),
        ("How far the settings can move", describe_sensitivity(decision)),
        ("Production", describe_production(decision)),
    )
    for heading, lines in more:
        parts += [_heading(heading), *map(_item, lines)] if lines else []
    flags = group_flags(decision)
    if flags:
        parts.append(_heading("Flags"))
        for flag in flags:
            everywhere = len(flag.candidates) == len(decision.standings) > 1
            whom = "all" if everywhere else ", ".join(flag.candidates)
            n_more = len(flag.details) - 1
            others = f", and {n_more} like it" if n_more else ""
            parts.append(_item(f"{flag.name}: {flag.details[0].detail}{others} ({whom})"))
    return Group(*parts)


def _verdict(decision: Decision) -> Text:
    word = {"clear": "winner  ", "tie broken by speed": "fastest of the tied  ", None: ""}[decision.how]
    text = Text(word, style="bold green")
    return text.append(clean(headline(decision)), style="bold")


def _standings(decision: Decision) -> Table:
    settings = decision.settings
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    table.add_column("place")
    table.add_column("candidate", overflow="fold", ratio=1)
    table.add_column("F1", no_wrap=True)
    table.add_column(f"p{settings.quantile * 100:g} ms, batch {settings.batch_size}", no_wrap=True)
    table.add_column(name_score(settings), justify="right", no_wrap=True)
    table.add_column("P(best)", justify="right", no_wrap=True)
    for row in decision.standings:
        style = _STYLE[row.place]
        cells = (
            FRONT_MARK if row.is_on_front else " ",
            row.place,
            clean(row.label),
            format_f1(row.quality),
            format_latency(row.latency_ms),
            f"{row.score.value:.3f}" if row.score else ABSENT,
            format_percent(row.p_best),
        )
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table


def _costs(decision: Decision) -> Table:
    """What each takes beside time; money only where a price is set."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("costs", overflow="fold", ratio=1)
    for column in list_costs(decision, decision.standings[0], is_brief=True):
        table.add_column(column.name, justify="right", no_wrap=True)
    for row in decision.standings:
        cells = (clean(row.label), *(figure.value for figure in list_costs(decision, row, is_brief=True)))
        table.add_row(*(Text(cell, style=_STYLE[row.place]) for cell in cells))
    return table


def _rates(decision: Decision) -> Table:
    """Throughput and serving, each interval below its figure: beside each other they need 130 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("rates", overflow="fold", ratio=1)
    for column in list_rates(decision, decision.standings[0]):
        table.add_column(column.name, justify="right")
    for row in decision.standings:
        cells = (f"{each.value}\n{each.interval}".strip() for each in list_rates(decision, row))
        style = _STYLE[row.place]
        shown = (Text(cell, style=style, no_wrap=True) for cell in cells)
        table.add_row(Text(clean(row.label), style=style), *shown)
    return table


def _key(decision: Decision) -> Text:
    settings = decision.settings
    told = (
        f"{FRONT_MARK} on the Pareto front: nobody is known to be at least as good and as fast. Intervals "
        f"are of {settings.confidence * 100:g}%; {clean(name_unit(decision))}."
    )
    return Text("\n".join((told, *_contention_lines(decision))), style="dim")


def _contention_lines(decision: Decision) -> Iterator[str]:
    """What a busy machine means, each sentence with those whom it concerns."""
    busy = [row for row in decision.standings if row.is_contended]
    by_cpu = [row for row in busy if row.clock == "CPU time"]
    for sentence, rows in zip(describe_contention(decision), (busy, by_cpu), strict=False):
        is_all = len(rows) == len(decision.standings) > 1
        yield f"{sentence} This is so of {'all' if is_all else clean(', '.join(row.label for row in rows))}."


def _constraint_lines(decision: Decision) -> Iterator[str]:
    """Each constraint once, with those who are not known to meet it."""
    for number, limit in enumerate(decision.settings.constraints):
        results = [(row.label, row.constraints[number]) for row in decision.standings]
        n_met = sum(result.result == "met" for _, result in results)
        everybody = count(len(results), "candidate")
        yield f"{describe_constraint(limit)}: met by {n_met} of {everybody}"
        for label, result in results:
            if result.result != "met":
                yield f"  {MET_MARK[result.result]} {label}: {result.result}: {result.text}"


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _item(line: str) -> RenderableType:
    """A line whose continuation is indented further than its beginning."""
    depth = len(line) - len(line.lstrip())
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text("·" if depth == 0 else " "), Text(clean(line.strip())))
    return Padding(grid, (0, 0, 0, 2 + depth))

"""Results of the stages for a notebook: a title, a table, the figures of the page, a few sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from bakeoff.core.decision.decide import Decision
from bakeoff.core.plan.jobs import Plan
from bakeoff.core.records import BackboneSelection, Champion
from bakeoff.disk.digest import digest_json, shorten
from bakeoff.orchestrator.bench.bench import BenchResult
from bakeoff.plural import count
from bakeoff.report.figures import trials
from bakeoff.report.figures.scatter import draw_plot
from bakeoff.report.page.html import PLOT_SIZES, make_environment
from bakeoff.report.text import decision as decision_text
from bakeoff.report.text import objective, units
from bakeoff.report.text.champions import describe_trials, list_params, list_remarks, name_evaluation

if TYPE_CHECKING:
    from bakeoff.core.decision.standings import Standing

Showable = Plan | Decision | BenchResult | Mapping[str, BackboneSelection] | Iterable[Champion]

_CHAMPION_COLUMNS = ("Backbone", "Champion run", "Metric", "Stable score", "Evaluated by", "Folds")
_PARAMS_LENGTH = 160
_WINNERS = {"clear": "Winner: ", "tie broken by speed": "Fastest of the tied: ", None: ""}


@dataclass(frozen=True)
class Figure:
    """A drawing of the page, with its caption."""

    drawing: Markup
    caption: str


@dataclass(frozen=True)
class Shown:
    """A value as a notebook shows it.

    Attributes:
        title: One line.
        columns: Headings of the table.
        rows: Cells as text; the first one names the row.
        notes: Sentences below the table.
        strong: Number of the row in bold; None for no row.
        figures: Drawings between table and sentences.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    strong: int | None = None
    figures: tuple[Figure, ...] = ()

    def _repr_html_(self) -> str:
        return make_environment().get_template("notebook.html.jinja").render(shown=self)

    def __repr__(self) -> str:
        return f"<{units.clean(self.title)}>"


def show(value: Showable) -> Shown:
    """Show what a stage returned as a table in a notebook.

    Args:
        value: Selections by backbone, champions, a plan, a result of ``bench``, or a decision.
    """
    match value:
        case Plan():
            return _show_plan(value)
        case BenchResult():
            return _show_bench(value)
        case Decision():
            return _show_decision(value)
        case Mapping():
            return _show_selections(value)
    champions = tuple(value)
    return Shown(
        title=count(len(champions), "champion"),
        columns=_CHAMPION_COLUMNS,
        rows=tuple(_champion_cells(champion) for champion in champions),
    )


def _show_selections(selections: Mapping[str, BackboneSelection]) -> Shown:
    rows = []
    for selection in selections.values():
        n_trials = units.count_trials(selection)
        champion = selection.champion
        cells = (
            _champion_cells(champion)
            if champion
            else (selection.backbone, *[units.ABSENT] * (len(_CHAMPION_COLUMNS) - 1))
        )
        remarks = list_remarks(selection) if champion else [selection.reason or ""]
        rows.append((*cells, _write_params(selection), n_trials, "; ".join(remarks)))
    n_found = sum(selection.champion is not None for selection in selections.values())
    return Shown(
        title=f"{n_found} of {count(len(selections), 'backbone')} with a champion",
        columns=(*_CHAMPION_COLUMNS, "Hyper-parameters", "Trials", "Remark"),
        rows=tuple(rows),
        figures=tuple(_draw_trials(selections)),
    )


def _write_params(selection: BackboneSelection) -> str:
    lines = list_params(selection.picked) if selection.picked else ()
    return units.truncate("; ".join(lines) or units.ABSENT, _PARAMS_LENGTH)


def _draw_trials(selections: Mapping[str, BackboneSelection]) -> Iterator[Figure]:
    drawing = make_environment().get_template("strips.svg.jinja").module
    for name, selection in selections.items():
        strip = trials.draw_trials(selection.picked) if selection.picked else None
        if strip is None or selection.picked is None:
            continue
        text = describe_trials(selection.picked, selection.selection_metadata.get("direction"))
        svg = drawing.trials(strip, trials.WIDTH, text)  # type: ignore[attr-defined]
        yield Figure(svg, f"{name}: {text}")


def _champion_cells(champion: Champion) -> tuple[str, ...]:
    return (
        champion.backbone,
        shorten(champion.run_id),
        f"{champion.metric:.4f}",
        f"{champion.stable_score:.4f}",
        name_evaluation(champion),
        " ".join(units.ABSENT if value is None else f"{value:.3f}" for value in champion.fold_metrics),
    )


def _show_plan(plan: Plan) -> Shown:
    return Shown(
        title=f"{len(plan.todo)} to measure, {len(plan.reused)} reused, {len(plan.left)} left alone",
        columns=("Job", "What to do", "Why"),
        rows=tuple((planned.job.label, planned.action, planned.reason) for planned in plan.jobs),
    )


def _show_bench(result: BenchResult) -> Shown:
    rows = [
        (
            measurement.job.label,
            f"measured, {measurement.validity}",
            ", ".join(dict.fromkeys(flag.name for flag in measurement.flags)),
        )
        for measurement in result.measured
    ]
    rows += [(attempt.job.label, "failed", attempt.reason) for attempt in result.failed]
    rows += [(planned.job.label, "reused", planned.reason) for planned in result.plan.reused]
    rows += [(planned.job.label, "left alone", planned.reason) for planned in result.plan.left]
    waiting = f"{count(result.unlogged, 'result')} on disk, not yet in the tracking store."
    return Shown(
        title=f"{len(result.measured)} measured, {len(result.failed)} failed, "
        f"{len(result.plan.reused)} reused, {len(result.plan.left)} left alone",
        columns=("Job", "Outcome", "Remark"),
        rows=tuple(rows),
        notes=(waiting,) if result.unlogged else (),
    )


def _show_decision(decision: Decision) -> Shown:
    winner = decision.winning_standing
    return Shown(
        title=f"{_WINNERS[decision.how]}{decision_text.headline(decision)}",
        columns=(
            "Candidate",
            "Place",
            *decision_text.name_quality(decision),
            f"{decision_text.name_latency(decision.settings)}, ms",
            objective.name_score(decision.settings).capitalize(),
            "P(best)",
            "Constraints",
        ),
        rows=tuple(_standing_cells(standing, decision) for standing in decision.standings),
        notes=(*decision_text.list_reasons(decision), *decision_text.describe_trade_off(decision)),
        strong=None if winner is None else decision.standings.index(winner),
        figures=tuple(_draw_decision(decision)),
    )


def _draw_decision(decision: Decision) -> Iterator[Figure]:
    """Draw accuracy against latency, if the quality of any candidate was measured."""
    metric = decision.metric
    if metric is None or not decision.has_quality:
        return
    width, height = PLOT_SIZES["wide"]
    drawing = make_environment().get_template("plot.svg.jinja").module
    latency = decision_text.name_latency(decision.settings)
    svg = drawing.draw(  # type: ignore[attr-defined]
        draw_plot(decision, width=width, height=height),
        f"notebook-{digest_json(decision.model_dump(mode='json'))[:8]}",
        metric,
        latency,
        f"{metric.label} against {latency}",
        decision_text.describe_finding(decision),
    )
    yield Figure(svg, decision_text.describe_finding(decision))


def _standing_cells(standing: Standing, decision: Decision) -> tuple[str, ...]:
    return (
        standing.label,
        standing.place,
        *decision_text.quality_cells(decision, standing),
        units.format_latency(standing.latency_ms),
        f"{standing.score.value:.3f}" if standing.score else units.ABSENT,
        units.format_percent(standing.p_best),
        "; ".join(_constraints(standing)) or units.ABSENT,
    )


def _constraints(standing: Standing) -> Iterator[str]:
    for constraint in standing.constraints:
        yield f"{decision_text.MET_MARK[constraint.result]} {constraint.text}"

"""A decision as Markdown, to paste into a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakeoff.disk.digest import digest_json, shorten
from bakeoff.plural import count
from bakeoff.report.text.comparison import escape_markdown
from bakeoff.report.text.decision import (
    MET_MARK,
    describe_constraint,
    describe_production,
    describe_trade_off,
    headline,
    list_reasons,
    name_latency,
    name_quality,
    quality_cells,
)
from bakeoff.report.text.objective import explain_objective, name_score, name_unit
from bakeoff.report.text.units import ABSENT, format_latency, format_percent

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing

_MOST_ROWS = 10
_WORDS = {"clear": "winner", "tie broken by speed": "fastest of the tied", None: "no clear winner"}


def render_summary(decision: Decision) -> str:
    """Render a decision as Markdown: verdict, table, reasons, and how sure it is.

    Args:
        decision: Decision to summarize; text from outside is escaped.
    """
    columns = _name_columns(decision)
    shown = decision.standings[:_MOST_ROWS]
    lines = [
        f"**bakeoff: {escape_markdown(headline(decision))}** – {_WORDS[decision.how]}",
        "",
        f"| {' | '.join(map(escape_markdown, columns))} |",
        "|---" * len(columns) + "|",
        *(f"| {' | '.join(map(escape_markdown, _cells(decision, row)))} |" for row in shown),
        "",
    ]
    if len(decision.standings) > len(shown):
        lines += [f"and {count(len(decision.standings) - len(shown), 'more candidate')}", ""]
    lines += [f"- {escape_markdown(sentence)}" for sentence in _list_sentences(decision)]
    return "\n".join([*lines, "", f"<sub>{escape_markdown(_describe_basis(decision))}</sub>"]) + "\n"


def _name_columns(decision: Decision) -> tuple[str, ...]:
    settings = decision.settings
    limits = (describe_constraint(limit, decision.metric) for limit in settings.constraints)
    latency = f"{name_latency(settings)}, ms"
    quality = name_quality(decision)
    return ("place", "candidate", *quality, latency, name_score(settings), "P(best)", *limits)


def _cells(decision: Decision, row: Standing) -> tuple[str, ...]:
    return (
        row.place,
        row.label,
        *quality_cells(decision, row),
        format_latency(row.latency_ms),
        f"{row.score.value:.3f}" if row.score else ABSENT,
        format_percent(row.p_best),
        *(f"{MET_MARK[each.result]} {each.result}" for each in row.constraints),
    )


def _list_sentences(decision: Decision) -> tuple[str, ...]:
    return (
        *list_reasons(decision),
        *describe_trade_off(decision),
        *describe_production(decision),
        *explain_objective(decision),
    )


def _describe_basis(decision: Decision) -> str:
    settings = decision.settings
    n_resamples = count(settings.resamples, "resample")
    unit = name_unit(decision)
    made = [f"{name} {version}" for name, version in decision.versions.items() if name == "bakeoff"]
    made.append(f"decision {shorten(digest_json(decision.model_dump(mode='json')))}")
    return (
        f"In brackets: {settings.confidence * 100:g}% intervals. P(best): share of {n_resamples}. "
        f"{unit[:1].upper()}{unit[1:]}. Measured on {decision.environment.hardware.label}. "
        f"{', '.join(made)}"
    )

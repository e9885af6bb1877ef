"""The decision as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bakeoff.digest import digest_json, shorten
from bakeoff.report import objective, strips, units, wording
from bakeoff.report.flags import group_flags
from bakeoff.report.looks import draw_legend
from bakeoff.report.plot import draw_plot

if TYPE_CHECKING:
    from bakeoff.core.decision import Decision
    from bakeoff.core.records import BackboneSelection

# One drawing for wide pages, one for narrow: scaling a single one down would make its text too small to read.
_PLOT_SIZES = {"wide": (1040, 560), "narrow": (460, 460)}


def render_html(
    decision: Decision, selections: Mapping[str, BackboneSelection], facts: Mapping[str, str]
) -> str:
    """Render the page; equal values give an equal page, byte for byte.

    Args:
        decision: What was decided.
        selections: How the champions were picked, by backbone.
        facts: What reproduces the decision: commands, versions, digests; shown in this order.
    """
    from bakeoff.measure.statistics import minimum_samples

    confidence = decision.settings.confidence
    return (
        make_environment()
        .get_template("report.html.jinja")
        .render(
            decision=decision,
            selections=selections,
            facts={"decision digest": digest_json(decision.model_dump(mode="json")), **facts},
            winner=decision.winning_standing,
            plots={name: draw_plot(decision, width=w, height=h) for name, (w, h) in _PLOT_SIZES.items()},
            legend=draw_legend(decision),
            strips=strips.draw_strips(decision.standings),
            strip_size=(strips.WIDTH, strips.HEIGHT),
            batch_sizes=sorted({size for row in decision.standings for size in row.latency_by_batch_ms}),
            quantiles=_quantile_names(decision),
            p99_samples=minimum_samples(0.99, confidence),
            flags=group_flags(decision),
        )
    )


def _quantile_names(decision: Decision) -> list[str]:
    return sorted(
        {name for row in decision.standings for shown in row.latency_by_batch_ms.values() for name in shown}
    )


def make_environment() -> Environment:
    """The templates of this package: what they print is cleaned and escaped."""
    environment = Environment(
        loader=PackageLoader("bakeoff.report"),
        autoescape=True,
        finalize=_clean_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "f1": units.format_f1,
        "f1_interval": units.f1_interval,
        "latency_interval": units.latency_interval,
        "ms": units.format_number_of_ms,
        "percent": units.format_percent,
        "short": shorten,
        "constraint": wording.describe_constraint,
    }
    environment.globals |= {
        "absent": units.ABSENT,
        "count": units.count,
        "objective": objective.explain_objective,
        "headline": wording.headline,
        "costs_of": wording.list_costs,
        "key_figures": wording.list_key_figures,
        "latency_name": wording.name_latency,
        "met_mark": wording.MET_MARK,
        "production": wording.describe_production,
        "reasons": wording.list_reasons,
        "score_name": objective.name_score,
        "sensitivity": objective.describe_sensitivity,
        "score_explained": objective.explain_score,
        "unit_of": objective.name_unit,
        "trade_off": wording.describe_trade_off,
    }
    return environment


def _clean_text(value: Any) -> Any:
    """Clean everything that the template prints, before escaping: bidi controls lie on pages too."""
    return units.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

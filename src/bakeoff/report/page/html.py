"""The decision as one self-contained HTML page: no library, no font, no network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bakeoff.disk.digest import digest_json, shorten
from bakeoff.plural import count
from bakeoff.report.figures import distributions, intervals, sensitivity, trials
from bakeoff.report.figures.collapse import fold
from bakeoff.report.figures.markers import draw_legend
from bakeoff.report.figures.raw_measurements import RawMeasurements
from bakeoff.report.figures.scatter import draw_plot
from bakeoff.report.page import machine, trust
from bakeoff.report.page.gates import list_gates
from bakeoff.report.page.run_pages import list_run_pages
from bakeoff.report.text import champions, costs, objective, rates, units
from bakeoff.report.text import decision as decision_text
from bakeoff.report.text.flags import group_flags
from bakeoff.report.text.summary import render_summary
from bakeoff.report.text.what_if import describe_what_if

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.records import BackboneSelection, Measurement
    from bakeoff.report.figures.intervals import Strip

# One drawing for wide pages, one for narrow: a single one scaled down would have text too small to read.
PLOT_SIZES = {"wide": (1040, 560), "narrow": (460, 460)}


def render_html(
    decision: Decision,
    selections: Mapping[str, BackboneSelection],
    facts: Mapping[str, str],
    *,
    measurements: Iterable[Measurement] = (),
    commands: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
    tracking_address: str | None = None,
) -> str:
    """Render the page; equal values give an equal page, byte for byte.

    Args:
        decision: Decision to show.
        selections: Selection of each champion, by backbone.
        facts: Versions, digests and places that reproduce the decision, in the order shown.
        measurements: Measurements behind the decision, with their raw values. If some are missing, the page
            says so and shows what the decision holds.
        commands: Shell commands that make this page again.
        sources: Source of each named model, by name.
        tracking_address: Address of the tracking server's pages, without secrets; None links to no run.
    """
    from bakeoff.measure.statistics.intervals import minimum_samples

    confidence = decision.settings.confidence
    evidence = RawMeasurements(decision, measurements)
    environment = make_environment()
    script = environment.get_template("page.js").render()
    facts = {"decision digest": digest_json(decision.model_dump(mode="json")), **facts}
    return environment.get_template("report.html.jinja").render(
        script=Markup(script),  # noqa: S704 - a file of ours, without a word from outside
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        decision=decision,
        metric=decision.metric,
        selections=selections,
        sources=sources or {},
        digests={row.backbone: row.checkpoint_digest for row in decision.standings},
        facts=facts,
        summary_lines=render_summary(decision).splitlines(),
        what_if=describe_what_if(decision, commands),
        run_pages=list_run_pages(selections, tracking_address),
        trial_strips={
            name: trials.draw_trials(selection.picked)
            for name, selection in selections.items()
            if selection.picked is not None
        },
        trials_width=trials.WIDTH,
        commands=commands,
        settings_lines=_write_settings(decision),
        winner=decision.winning_standing,
        gates=list_gates(decision),
        order=fold(decision),
        plots={
            name: draw_plot(decision, width=w, height=h)
            for name, (w, h) in PLOT_SIZES.items()
            if decision.has_quality
        },
        legend=draw_legend(decision),
        strips=intervals.draw_strips(decision.standings),
        strip_size=(intervals.WIDTH, intervals.HEIGHT),
        distances=_draw_distances(decision),
        panels=distributions.draw_panels(decision, evidence),
        panel_size=(distributions.WIDTH, distributions.HEIGHT),
        calibration_size=(trust.CALIBRATION_WIDTH, trust.CALIBRATION_HEIGHT),
        tracks=sensitivity.draw_tracks(decision),
        track_width=sensitivity.TRACK_WIDTH,
        p99_samples=minimum_samples(0.99, confidence),
        flags=group_flags(decision),
        trust=trust.gather_trust(decision, evidence),
        machine=machine.group_facts(decision.environment),
        loads=machine.list_loads(decision.environment),
        evidence=evidence,
    )


def _write_settings(decision: Decision) -> list[str]:
    """Write the settings as lines of JSON; each line is cleaned and escaped on its own."""
    settings = decision.settings.model_dump(mode="json")
    return json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def _draw_distances(decision: Decision) -> list[tuple[Strip | None, Strip | None]]:
    """Draw strips of quality and latency against production, one pair a standing."""
    found = [row.versus_production for row in decision.standings]
    gaps = intervals.draw_differences([one.quality if one else None for one in found])
    ratios = intervals.draw_ratios([one.latency_ratio if one else None for one in found])
    return list(zip(gaps, ratios, strict=True))


def make_environment() -> Environment:
    """Load the templates of this package; everything that they print is cleaned and escaped."""
    environment = Environment(
        loader=PackageLoader("bakeoff.report"),
        autoescape=True,
        finalize=_clean_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "difference": units.format_difference,
        "difference_interval": units.difference_interval,
        "quality": units.format_quality,
        "quality_interval": units.quality_interval,
        "score_interval": units.score_interval,
        "ratio": units.format_ratio,
        "latency_interval": units.latency_interval,
        "ms": units.format_number_of_ms,
        "percent": units.format_percent,
        "short": shorten,
        "constraint": decision_text.describe_constraint,
    }
    environment.globals |= {
        "absent": units.ABSENT,
        "count": count,
        "objective": objective.explain_objective,
        "headline": decision_text.headline,
        "contention": decision_text.describe_contention,
        "checkpoint_source": champions.describe_source,
        "costs_explained": costs.explain_costs,
        "costs_of": costs.list_costs,
        "evaluation": champions.name_evaluation,
        "finding": decision_text.describe_finding,
        "key_figures": decision_text.list_key_figures,
        "latency_name": decision_text.name_latency,
        "name_quality": decision_text.name_quality,
        "met_mark": decision_text.MET_MARK,
        "production": decision_text.describe_production,
        "rates_explained": rates.explain_rates,
        "rates_of": rates.list_rates,
        "reasons": decision_text.list_reasons,
        "score_name": objective.name_score,
        "sensitivity": objective.describe_sensitivity,
        "score_explained": objective.explain_score,
        "unit_of": objective.name_unit,
        "trade_off": decision_text.describe_trade_off,
        "trials_described": champions.describe_trials,
        "trials_thinned": champions.describe_thinning,
    }
    return environment


def _clean_text(value: Any) -> Any:
    """Clean everything that the template prints, before escaping: bidi controls mislead on pages too."""
    return units.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

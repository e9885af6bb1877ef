"""The words of a decision, the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.plural import count
from bakeoff.report.text.objective import name_score
from bakeoff.report.text.units import (
    NOT_MEASURED,
    difference_interval,
    format_bytes,
    format_difference,
    format_ms,
    format_number_of_ms,
    format_percent,
    format_quality,
    format_ratio,
    latency_interval,
    quality_decimals,
    quality_interval,
    quality_with_interval,
    ratio_interval,
    score_interval,
)

if TYPE_CHECKING:
    from bakeoff.core.config.decision_rules import Constraint
    from bakeoff.core.config.settings import DecisionSettings
    from bakeoff.core.decision.constraints import Met
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.estimate import Estimate
    from bakeoff.core.quality import QualityMetric

MET_MARK: dict[Met, str] = {"met": "✓", "failed": "✗", "cannot tell": "?"}


_NAMED = 6  # as many names as a sentence can hold


class KeyFigure(NamedTuple):
    """One number that the verdict rests on."""

    name: str
    value: str
    note: str
    unit: str = ""


def name_latency(settings: DecisionSettings) -> str:
    """Name the latency of this decision: ``p50 latency, batch size 1``."""
    return f"p{settings.quantile * 100:g} latency, batch size {settings.batch_size}"


def name_quality(decision: Decision) -> tuple[str, ...]:
    """Return the heading of the column of quality; none if the quality of no candidate was measured."""
    return (decision.metric.label,) if decision.metric is not None and decision.has_quality else ()


def quality_cells(decision: Decision, row: Standing) -> tuple[str, ...]:
    """Return the cell of a candidate in the column of quality; none without that column."""
    return tuple(quality_with_interval(row.quality, decision.metric) for _ in name_quality(decision))


def describe_constraint(limit: Constraint, metric: QualityMetric | None) -> str:
    """Write a constraint: ``F1 ≥ 0.5``, ``p95 at batch size 1 ≤ 250 ms``, ``memory ≤ 512 MiB``."""
    name = metric.label if metric is not None else "quality"
    if limit.kind == "quality":
        is_ceiling = limit.at_most is not None
        return f"{name} {f'≤ {limit.at_most:g}' if is_ceiling else f'≥ {limit.at_least:g}'}"
    if limit.kind == "quality_drop":
        sides = ("≥", "-") if metric is None or metric.more_is_better else ("≤", "+")
        return f"{name} {sides[0]} {limit.against} {sides[1]} {limit.at_most:g}"
    if limit.kind == "memory":
        return f"memory ≤ {format_bytes(limit.at_most_bytes)}"
    if limit.kind == "throughput":
        return f"throughput ≥ {limit.at_least_per_s:g} documents/s"
    if limit.kind == "server_rate":
        return f"server rate ≥ {limit.at_least_per_s:g} requests/s"
    return f"p{limit.quantile * 100:g} at batch size {limit.batch_size} ≤ {limit.at_most_ms:g} ms"


def headline(decision: Decision) -> str:
    """Return the verdict in one line, without the reasons."""
    if decision.winner is not None:
        return decision.winner
    if decision.outcome == "tie":
        n_tied = sum(standing.place == "tied" for standing in decision.standings)
        return f"A tie between {count(n_tied, 'candidate')}"
    if decision.outcome == "undecided":
        n_open = sum(standing.place == "undecided" for standing in decision.standings)
        if decision.best_so_far is None:
            return f"Undecided: {count(n_open, 'candidate')} may meet every constraint"
        open_ones = f"{count(n_open, 'candidate')} undecided" if n_open else "its own constraint is undecided"
        limit = _find_untold_limit(decision)
        why = f"machine too busy for the {limit} limit" if limit else open_ones
        return f"Best so far: {decision.best_so_far} ({why})"
    return "No winner"


def _find_untold_limit(decision: Decision) -> str | None:
    """Find an absolute limit that a busy machine leaves open, as a number with its unit; None without any."""
    for standing in decision.standings:
        if not standing.is_contended or standing.place not in {"best so far", "undecided"}:
            continue
        for limit, found in zip(decision.settings.constraints, standing.constraints, strict=True):
            if found.result != "cannot tell":
                continue
            if limit.kind == "latency":
                return f"{limit.at_most_ms:g} ms"
            if limit.kind == "throughput":
                return f"{limit.at_least_per_s:g} documents/s"
            if limit.kind == "server_rate":
                return f"{limit.at_least_per_s:g} requests/s"
    return None


def list_reasons(decision: Decision) -> tuple[str, ...]:
    """Write the reasons as sentences; a label at the beginning keeps its first letter."""
    labels = tuple(row.label for row in decision.standings)
    return tuple(
        text if text.startswith(labels) or reason in decision.incomplete else text[:1].upper() + text[1:]
        for reason in decision.reasons
        if (text := reason if reason.endswith(".") else f"{reason}.")
    )


def describe_trade_off(decision: Decision) -> tuple[str, ...]:
    """Compare the winner with the most accurate and the fastest of the others.

    Compares measured values; reasons and intervals say whether a difference is more than noise.
    """
    winner = decision.winning_standing
    if winner is None or len(decision.standings) == 1:
        return ()
    metric = decision.metric
    others = [standing for standing in decision.standings if standing is not winner]
    fastest = min(others, key=lambda standing: standing.latency_ms.value)
    judged = [(row, row.quality) for row in others if row.quality is not None]
    if metric is None or winner.quality is None or not judged:
        return (f"The fastest of the others, {_compare(fastest, winner, metric)}.",)
    finest, _ = max(judged, key=lambda each: metric.gain(each[1].value))
    if finest is fastest:
        return (f"The most accurate and fastest of the others, {_compare(finest, winner, metric)}.",)
    return (
        f"The most accurate of the others, {_compare(finest, winner, metric)}.",
        f"The fastest of the others, {_compare(fastest, winner, metric)}.",
    )


def _compare(other: Standing, winner: Standing, metric: QualityMetric | None) -> str:
    if metric is None or other.quality is None or winner.quality is None:
        return f"{other.label}, is {_pace(other, winner)}"
    gap = _gap(other.quality.value, winner.quality.value, metric)
    return f"{other.label}, has {gap} and is {_pace(other, winner)}"


def _gap(mine: float, theirs: float, metric: QualityMetric) -> str:
    """Describe the difference in the metric: ``0.017 more F1``, ``0.12 less RMSE``."""
    # A difference of errors in units of a target has one digit more than they have.
    decimals = quality_decimals(max(abs(mine), abs(theirs)), metric) + (not metric.is_bounded)
    shown = f"{abs(mine - theirs):,.{decimals}f}"
    if not any(digit in shown for digit in "123456789"):
        return f"the same {metric.label}"
    return f"{shown} {'more' if mine > theirs else 'less'} {metric.label}"


def _pace(other: Standing, winner: Standing) -> str:
    slower = other.latency_ms.value >= winner.latency_ms.value
    slow, quick = (other, winner) if slower else (winner, other)
    ratio = format_ratio(slow.latency_ms.value / quick.latency_ms.value)
    if ratio == "1.00×":
        return "as fast"
    return f"{ratio} {'slower' if slower else 'faster'}"


def list_key_figures(decision: Decision) -> tuple[KeyFigure, ...]:
    """List the most important numbers, for a reader who stops there."""
    winner = decision.winning_standing
    if winner is not None:
        return _figures_of_winner(decision, winner)
    shown = [standing for standing in decision.standings if standing.place == "tied"]
    if decision.outcome == "tie":
        first = KeyFigure("Tied", str(len(shown)), _of_all(decision))
    else:
        shown = list(decision.standings)
        n_met = sum(all(each.result == "met" for each in row.constraints) for row in shown)
        first = KeyFigure("Meet every constraint", str(n_met), _of_all(decision))
    latencies = [standing.latency_ms.value for standing in shown]
    among = "among the tied" if decision.outcome == "tie" else "among all"
    return (
        first,
        _figure_of_quality(decision, shown, among),
        KeyFigure(
            name_latency(decision.settings),
            _span([format_number_of_ms(value) for value in sorted(latencies)]),
            among + _note_contention(shown),
            unit="ms",
        ),
    )


def _figures_of_winner(decision: Decision, winner: Standing) -> tuple[KeyFigure, ...]:
    settings = decision.settings
    level = f"{settings.confidence * 100:g}% interval"
    against = "it is the reference itself" if winner.label == decision.reference else "the reference has 1"
    if settings.objective.kind == "weighted" and settings.objective.anchors is not None:
        against = "0 and 1 are at the anchors"
    return (
        _figure_of_quality(decision, (winner,), level),
        KeyFigure(
            name_latency(settings),
            format_number_of_ms(winner.latency_ms.value),
            f"{level} {latency_interval(winner.latency_ms)}" + _note_contention((winner,)),
            unit="ms",
        ),
        *_figures_of_score(name_score(settings).capitalize(), winner.score, level, against),
        KeyFigure(
            "P(best)",
            format_percent(winner.p_best),
            f"of {count(settings.resamples, 'resample')} of {_name_resampled(settings)}",
        ),
    )


def _figure_of_quality(decision: Decision, rows: Sequence[Standing], note: str) -> KeyFigure:
    """Show the quality of a row with its interval, or the span of several; or that it was not measured."""
    metric = decision.metric
    found = [row.quality for row in rows if row.quality is not None]
    if metric is None or not found:
        name = metric.label if metric is not None else "Quality"
        note = "" if decision.has_quality else "this ranking is by speed alone"
        return KeyFigure(name, NOT_MEASURED, note)
    values = [format_quality(value, metric) for value in sorted(each.value for each in found)]
    if len(rows) == 1:
        note = f"{note} {quality_interval(found[0], metric)}"
    return KeyFigure(metric.label, _span(values), note)


def _name_resampled(settings: DecisionSettings) -> str:
    return "timings" if settings.objective.kind == "fastest" else "documents and timings"


def _note_contention(rows: Sequence[Standing]) -> str:
    """Note that a latency is only an upper bound, if any of the rows is contended."""
    return "; contended: an upper bound" if any(row.is_contended for row in rows) else ""


def _figures_of_score(name: str, score: Estimate | None, level: str, against: str) -> Iterator[KeyFigure]:
    if score is not None:
        yield KeyFigure(name, f"{score.value:.3f}", f"{level} {score_interval(score)}; {against}")


def describe_contention(decision: Decision) -> tuple[str, ...]:
    """Explain figures from a busy machine; nothing if there are none."""
    busy = [row for row in decision.standings if row.is_contended]
    if not busy:
        return ()
    contended = (
        "Contended: other work disturbed more than half of the rounds. The latency is an upper bound, and "
        "comparisons have low confidence."
    )
    by_cpu = "By CPU time: compared by the time that its one thread computed, without waits for a CPU."
    return (contended, by_cpu) if any(row.clock == "CPU time" for row in busy) else (contended,)


def describe_finding(decision: Decision) -> str:
    """Describe the drawing of quality against latency, for readers who do not see it."""
    name, metric = name_latency(decision.settings), decision.metric
    if metric is None:
        return ""
    front = sorted(
        (row for row in decision.standings if row.is_on_front), key=lambda row: row.latency_ms.value
    )
    named = "; ".join(
        f"{row.label}, {metric.label} {format_quality(row.quality.value, metric)} at "
        f"{format_ms(row.latency_ms.value)}"
        for row in front[:_NAMED]
        if row.quality is not None
    )
    more = f"; and {count(len(front) - _NAMED, 'other')}" if len(front) > _NAMED else ""
    first = decision.standings[0]
    led = {
        "winner": f"The winner is {first.label}",
        "tie": headline(decision),
        "undecided": headline(decision),
        "none": "No candidate wins",
    }
    return (
        f"{led[decision.outcome]}. The Pareto front of {metric.label} and {name} holds {len(front)} of "
        f"{count(len(decision.standings), 'candidate')}, from the fastest: {named}{more}."
    )


def describe_production(decision: Decision) -> tuple[str, ...]:
    """Name the model in production and the winner's distance from it; nothing if none is known."""
    production, winner = decision.production, decision.winning_standing
    if production.version is None:
        return ()
    if production.label is None:
        return (f"In production: {production.reason}.",)
    known = f"In production: {production.label} (version {production.version} of {production.model})."
    distance = winner.versus_production if winner else None
    if winner is None or distance is None or winner.label == production.label:
        return (known,)
    quality, ratio, metric = distance.quality, distance.latency_ratio, decision.metric
    pace = f"takes {format_ratio(ratio.value)} {ratio_interval(ratio)} the time"
    if quality is None or metric is None:
        return known, f"Against it the winner {pace}; the difference in quality was not measured."
    gap = f"{format_difference(quality, metric)} {difference_interval(quality, metric)} {metric.label}"
    return known, f"Against it the winner has {gap} and {pace}."


def _of_all(decision: Decision) -> str:
    return f"of {count(len(decision.standings), 'candidate')}"


def _span(shown: Sequence[str]) -> str:
    """Join first and last of sorted texts: ``0.841–0.846``, or one if they are the same."""
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]}–{shown[-1]}"

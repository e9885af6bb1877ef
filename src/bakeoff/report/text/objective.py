"""The objective of a decision in words, and how far its settings can move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakeoff.report.text.units import format_ms, format_percent, format_quality

if TYPE_CHECKING:
    from bakeoff.core.config.decision_rules import Weights
    from bakeoff.core.config.settings import DecisionSettings
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.sensitivity import Sensitivity
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.quality import QualityMetric

_SCORES = {"weighted": "score", "lexicographic": "speed", "cost": "cheapness", "fastest": "speed"}


def name_score(settings: DecisionSettings) -> str:
    """Name what the objective compares, in one word."""
    return _SCORES[settings.objective.kind]


def explain_exchange_rate(weights: Weights, metric: QualityMetric) -> str:
    """Say what one percent of quality is worth in latency."""
    share = weights.quality_share
    if share == 1:
        return f"Only {metric.label} counts; latency does not."
    if share == 0:
        return f"Only latency counts; {metric.label} does not."
    # Equal score: ratio ** share == slowdown ** (1 - share); bounded, or a weight of 0.9999 overflows.
    ratio = 1.01 if metric.more_is_better else 1 / 0.99
    slowdown = ratio ** min(share / (1 - share), 1000)
    worth = f"{format_percent(slowdown - 1)} more" if slowdown < 2 else f"{slowdown:,.1f} times the"
    better = "more" if metric.more_is_better else "less"
    return f"One percent {better} {metric.label} is worth {worth} latency."


def name_unit(decision: Decision) -> str:
    """Name the unit of the score: ``score 1 is minilm-l6 × torch-fp32``."""
    objective = decision.settings.objective
    if objective.kind == "weighted" and objective.anchors is not None:
        return "scores 0 and 1 are at the anchors"
    return f"{name_score(decision.settings)} 1 is {decision.reference}"


def explain_objective(decision: Decision) -> tuple[str, ...]:
    """Explain the objective and its exchange rate, a sentence each."""
    objective, metric = decision.settings.objective, decision.metric
    if objective.kind == "fastest" or metric is None:
        return ("The candidate with the least latency wins.", _describe_role_of_quality(decision))
    name = metric.label
    if objective.kind == "lexicographic":
        most = f"{objective.accuracy_threshold:g}"
        room = f"{most} of the best {name}" if objective.threshold_scale == "relative" else f"{most} {name}"
        rule = (
            "Quality comes first: the fastest candidate wins among those at most "
            f"{room} {'below' if metric.more_is_better else 'above'} the most accurate."
        )
        return (rule,)
    if objective.kind == "cost":
        return (f"The candidate that costs least per million {objective.per} wins.",)
    weights = objective.weights
    share = f"{weights.quality_share:.3g}", f"{1 - weights.quality_share:.3g}"
    if objective.anchors is None:
        of_reference = f"{name} of the reference"
        ratio = f"{name} / {of_reference}" if metric.more_is_better else f"{of_reference} / {name}"
        score = f"({ratio})^{share[0]} × (latency of the reference / latency)^{share[1]}"
        return f"Score = {score}.", explain_exchange_rate(weights, metric)
    quality, latency = objective.anchors.quality, objective.anchors.latency_ms
    return (
        f"Score = {share[0]} × quality + {share[1]} × speed.",
        f"Quality is 0 at {name} {quality.zero:g} and 1 at {quality.one:g}, on a linear scale.",
        f"Speed is 0 at {format_ms(latency.zero)} and 1 at {format_ms(latency.one)}, on a logarithmic scale.",
    )


def _describe_role_of_quality(decision: Decision) -> str:
    """Say what quality does under an objective that needs none."""
    if decision.metric is None or not decision.has_quality:
        return "Quality was not measured."
    is_limited = any(limit.kind.startswith("quality") for limit in decision.settings.constraints)
    role = "counts only as a constraint" if is_limited else "is shown, and does not count"
    return f"{decision.metric.label} {role}."


def explain_score(decision: Decision, standing: Standing) -> str:
    """Work out the score of a candidate: ``(0.846 / 0.851)^0.9 × (20.3 ms / 5.12 ms)^0.1 = 1.141``.

    Empty if the score has another form.
    """
    objective = decision.settings.objective
    if objective.kind != "weighted" or objective.anchors is not None or standing.score is None:
        return ""
    reference = next(row for row in decision.standings if row.label == decision.reference)
    metric, ratio = decision.metric, [standing.quality, reference.quality]
    if metric is None:
        return ""
    if not metric.more_is_better:
        ratio.reverse()
    share = objective.weights.quality_share
    above, below = (format_quality(each.value, metric) for each in ratio if each is not None)
    return (
        f"({above} / {below})^{share:.3g} × "
        f"({format_ms(reference.latency_ms.value)} / {format_ms(standing.latency_ms.value)})^{1 - share:.3g} "
        f"= {standing.score.value:.3f}"
    )


def describe_sensitivity(decision: Decision) -> tuple[str, ...]:
    """Say how far each setting can move before another candidate leads, a sentence each."""
    return tuple(map(_describe_moved, decision.sensitivity))


def _describe_moved(moved: Sensitivity) -> str:
    turns = [
        f"{side} {turn.at:.3g} {turn.leader or 'no candidate'} {'leads' if turn.leader else 'may win'}"
        for side, turn in (("below", moved.low), ("above", moved.high))
        if turn is not None
    ]
    change = ", ".join(turns) if turns else "no other value changes that"
    now = f"Without a {moved.moved}" if moved.value is None else f"With {moved.moved} {moved.value:.3g}"
    return f"{now}, {moved.leader} leads; {change}."

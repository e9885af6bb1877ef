"""The race: measure until the decision is known, and not every number to its target.

Quality is measured first, and needs one process. Who certainly fails a limit of quality, or cannot win even
if it took no time at all, is not timed. The others are timed together. After each repeat from the third on,
the contest is held on what is there. A candidate that the leader beats, or that fails a constraint, is
measured no further. The heat ends when only the leader is left, or when the rest is tied because documents
are too few.

Every look is a chance to be wrong, and so is every rival. The error of the decision, 1 − confidence, is
therefore spent: over the looks by the spending function of Pocock's type (Lan and DeMets, Discrete sequential
boundaries for clinical trials, Biometrika 70, 1983), and evenly over the rivals (Bonferroni). For any number
of looks and candidates, the truly best is dropped in at most 1 − confidence of all races.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bakeoff.core.config.decision_rules import Lexicographic, QualityDrop, QualityFloor
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import count_exceptions, estimate_all
from bakeoff.core.decision.candidates import (
    Candidate,
    CandidateId,
    identify_candidate,
    metric_of_task,
    name_runtimes,
)
from bakeoff.core.decision.constraints import check_quality_limit
from bakeoff.core.decision.decide import leave_out_faults, refuse_unlike
from bakeoff.core.decision.production import NOT_MEASURED, Production, measure_gaps
from bakeoff.core.decision.ranking import Contest, explain_place, hold_contest
from bakeoff.core.decision.scoring import is_within
from bakeoff.core.decision.ties import explain_tie
from bakeoff.core.quality import draw_quality, measure_quality
from bakeoff.core.records import Measurement
from bakeoff.errors import CannotTellError
from bakeoff.measure.heats.records import Stop
from bakeoff.measure.heats.run import FIRST_LOOK
from bakeoff.measure.statistics.readings import OUTCOMES, Reading
from bakeoff.measure.tasks import Task
from bakeoff.plural import count

# Share of the error for the look at quality alone; the looks at repeats have the rest.
QUALITY_SHARE = 0.1
# A level must leave some resamples that may contradict, or it would be stricter than it says.
_EXCEPTIONS = 8
_MOST_RESAMPLES = 100_000


class Judged(NamedTuple):
    """Candidate of which quality alone is known.

    Attributes:
        label: Name of the candidate.
        outcomes: Outcome of each document.
    """

    label: str
    outcomes: Reading


class RaceLook(NamedTuple):
    """Result of the contest after some repeats.

    Attributes:
        dropped: Reason for each candidate that is measured no further, by label.
        stop: Reason to end the heat; None goes on.
        detail: That reason in words.
    """

    dropped: Mapping[str, str]
    stop: Stop | None = None
    detail: str = ""


def spend(look: int, most_looks: int, confidence: float) -> float:
    """Return the error that one look may spend, by Pocock's spending function ln(1 + (e − 1) t).

    Args:
        look: Number of the look, from 1.
        most_looks: Greatest number of looks, at least ``look``.
        confidence: Confidence of the decision; all looks together spend 1 − confidence, less the share of the
            look at quality.
    """

    def spent(looks: int) -> float:
        return math.log1p((math.e - 1) * looks / most_looks)

    return (1 - confidence) * (1 - QUALITY_SHARE) * (spent(look) - spent(look - 1))


def find_hopeless(judged: Sequence[Judged], task: Task, settings: DecisionSettings) -> dict[int, str]:
    """Find the candidates that cannot win at any latency, and why.

    Only an objective that ranks quality first can show it before anything is timed, and only if no other
    constraint may exclude the most accurate. Any objective can exclude who fails a limit of quality.

    Args:
        judged: Candidates with their outcomes on the same documents; the first one is the reference.
        task: Task of all of them.
        settings: Settings of the decision.

    Returns:
        Reason by number; empty with fewer than two candidates, or without a metric.

    Raises:
        CannotTellError: The task has no such metric, or a limit of the settings does not fit it.
    """
    metric = metric_of_task(task, settings)
    if len(judged) < 2 or metric is None:  # noqa: PLR2004 - one candidate has no rival
        return {}
    settings = _at_level((1 - settings.confidence) * QUALITY_SHARE, len(judged), settings)
    values = np.array([measure_quality(each.outcomes, metric) for each in judged])
    draws = draw_quality([each.outcomes for each in judged], metric, settings.resamples, settings.seed)
    estimates = estimate_all(values, draws, settings)
    gaps = measure_gaps(values, draws, 0, settings)
    results = [
        [
            check_quality_limit(
                limit, estimate, {"reference": gaps[n] or NOT_MEASURED, "production": NOT_MEASURED}, metric
            )
            for limit in settings.constraints
            if isinstance(limit, QualityFloor | QualityDrop)
        ]
        for n, estimate in enumerate(estimates)
    ]
    hopeless = {
        n: f"failed: {one.text}" for n, row in enumerate(results) for one in row if one.result == "failed"
    }
    meets = [n for n, row in enumerate(results) if all(one.result == "met" for one in row)]
    is_by_quality = all(isinstance(limit, QualityFloor | QualityDrop) for limit in settings.constraints)
    if isinstance(settings.objective, Lexicographic) and is_by_quality and meets:
        within = is_within(metric.gain(draws), meets, settings.objective)
        best = max(meets, key=lambda n: float(metric.gain(values)[n]))
        for n in np.flatnonzero(np.count_nonzero(within, axis=0) <= count_exceptions(settings)):
            what = f"{metric.label} {values[n]:.4g} against {values[best]:.4g} of {judged[best].label}"
            hopeless.setdefault(int(n), f"outside the accuracy threshold: {what}")
    return hopeless


def find_hopeless_among(
    measurements: Sequence[Measurement], settings: DecisionSettings
) -> dict[CandidateId, str]:
    """Find the candidates that need not be timed, from the measurements of quality among some.

    Args:
        measurements: Measurements of one task; the first candidate is the reference.
        settings: Settings of the decision.

    Returns:
        The reason of each.
    """
    names = name_runtimes(each.job for each in measurements)
    found = [
        (each.job, outcomes)
        for each in measurements
        if each.job.scenario.kind == "quality" and (outcomes := each.reading(OUTCOMES)) is not None
    ]
    if len({job.inputs_digest for job, _ in found}) != 1:
        return {}
    judged = [
        Judged(f"{job.backbone} × {names[job.runtime.model_dump_json()]}", outcomes)
        for job, outcomes in found
    ]
    try:
        hopeless = find_hopeless(judged, found[0][0].task, settings)
    except CannotTellError:
        return {}
    return {identify_candidate(found[n][0]): f"it cannot win ({why})" for n, why in hopeless.items()}


def hold_look(
    candidates: Sequence[Candidate],
    settings: DecisionSettings,
    production: Production,
    *,
    repeats: int,
    max_repeats: int,
    racing: Sequence[str],
) -> RaceLook:
    """Look at the contest after a repeat.

    Args:
        candidates: All candidates with what they have so far; the first one is the reference.
        settings: Settings of the decision.
        production: Version in production.
        repeats: Repeats done, at least ``FIRST_LOOK``.
        max_repeats: Repeats after which the heat ends in any case.
        racing: Labels of the candidates that are being measured.
    """
    sound, _ = leave_out_faults(candidates)
    most_looks = max(max_repeats - FIRST_LOOK + 1, 1)
    look = min(repeats - FIRST_LOOK + 1, most_looks)
    strict = _at_level(spend(look, most_looks, settings.confidence), len(sound), settings)
    try:
        if not sound:
            return RaceLook({})
        refuse_unlike(sound, settings)
        dropped = _find_dropped(hold_contest(sound, strict, production), racing)
        stop, detail = _find_stop(sound, settings, production, set(racing) - dropped.keys())
    except CannotTellError:
        return RaceLook({})  # what cannot be ranked yet is measured on
    return RaceLook(dropped, stop, detail)


def _at_level(error: float, n_candidates: int, settings: DecisionSettings) -> DecisionSettings:
    """Return settings under which all comparisons of one candidate with its rivals err as often at most."""
    level = error / max(n_candidates - 1, 1)  # on one side: the truly best errs only by losing
    resamples = min(max(settings.resamples, math.ceil(_EXCEPTIONS / level)), _MOST_RESAMPLES)
    return settings.replace(confidence=1 - 2 * level, resamples=resamples)


def _find_dropped(contest: Contest, racing: Sequence[str]) -> dict[str, str]:
    """Find who needs no further repeat; a leader that may itself be excluded beats no other yet."""
    leader, dropped = contest.leader, {}
    has_leader = leader is not None and leader in contest.able
    for n, label in enumerate(contest.labels):
        if label not in racing or n == leader:
            continue
        failed = [each.text for each in contest.results[n] if each.result == "failed"]
        is_level = n in contest.tied or n in contest.undecided
        if failed:
            dropped[label] = f"failed: {'; '.join(failed)}"
        elif has_leader and not is_level and n not in contest.ranking.unknown:
            dropped[label] = explain_place(contest, n, None)
    return dropped


def _find_stop(
    candidates: Sequence[Candidate], settings: DecisionSettings, production: Production, left: set[str]
) -> tuple[Stop | None, str]:
    """Find whether more repeats would be in vain: one is left, or the rest has too few documents."""
    contest = hold_contest(candidates, settings, production)
    leader = contest.leader
    if leader is None or leader not in contest.able or contest.undecided:
        return None, ""
    others = left - {contest.labels[leader]}
    if not others:
        return "decided", f"only {contest.labels[leader]} may still win"
    if settings.objective.kind == "fastest":
        return None, ""
    known = hold_contest(candidates, settings, production, is_latency_known=True)
    level = {known.labels[n] for n in (*known.tied, *([known.leader] if known.leader is not None else []))}
    if known.undecided or not (others | {contest.labels[leader]}) <= level:
        return None, ""
    tie = explain_tie(known)
    enough = next((each.documents for each in tie.enough if each.documents), None) if tie else None
    now = tie.now.documents if tie else None
    more = "more would not decide"
    if enough is not None and now is not None:
        more = f"about {count(enough - now, 'more document')} would decide"
    return "documents", f"{', '.join(sorted(level))} are tied because documents are too few: {more}"

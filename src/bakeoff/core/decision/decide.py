"""The decision: a winner, a tie, the best so far, or none, with the evidence and the reasons.

One rule decides everything: a result is certain if its whole interval lies on one side. That holds for
constraints, for dominance and for the order of candidates. A candidate with an undecided constraint may still
win: until the leader beats it, there is a best so far and no winner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate, find_fault
from bakeoff.core.decision.production import Production
from bakeoff.core.decision.ranking import (
    Contest,
    How,
    Outcome,
    find_winner,
    hold_contest,
    list_open_points,
    name_best,
    name_outcome,
)
from bakeoff.core.decision.sensitivity import Sensitivity, find_sensitivity
from bakeoff.core.decision.standings import Standing, order_of_places, stand
from bakeoff.core.decision.ties import Tie, explain_tie
from bakeoff.core.decision.what_if import WhatIf, find_what_if
from bakeoff.core.job import Environment
from bakeoff.core.quality import QualityMetric
from bakeoff.core.records import Measurement
from bakeoff.disk.digest import digest_json
from bakeoff.disk.sealed import read_sealed, read_values
from bakeoff.errors import CannotTellError, DataError
from bakeoff.plural import count
from bakeoff.record import Record

_EXPECTED = "a file that `bakeoff decide` wrote; run it again"


class UsedMeasurement(Record):
    """Measurement that a decision used.

    Attributes:
        key: Benchmark key.
        attempt: Number of the attempt at the key.
        measured_at: Time of the measurement: UTC, ISO 8601.
    """

    key: str
    attempt: int
    measured_at: str


class Decision(Record):
    """Standings, winner or tie, reasons, and the inputs of the decision.

    Attributes:
        inputs_digest: Digest of all inputs; empty if they were not recorded.
        how: Way in which the winner won; None without one.
        reference: Candidate that scores are relative to.
        metric: Metric of quality; None if the task has none.
        best_so_far: Leader while candidates are undecided; None in every other outcome.
        standings: Standings by place: winner, tied, undecided, beaten, excluded.
        tie: Tied candidates, and the effort that would break the tie; also if the fastest of them won.
        sensitivity: Range of each setting in which the same candidate leads.
        what_if: Outcomes with other weights and latency limits; None with one candidate.
        production: Version in production, and its candidate.
        environment: Environment of the reference's measurement.
        measurements: Measurements that the decision used; empty if they were not recorded.
        versions: Versions of the software that decided, by name.
        incomplete: Candidates that could not be ranked, each with the reason.
        not_done: Candidates with a measurement that does not count as done, since the machine was too busy.
            With any of them, a winner is named for information, and no gate lets it pass.
        without_quality: Candidates whose quality was not measured.
    """

    format_version: Literal[7] = 7
    inputs_digest: str = ""
    outcome: Outcome
    how: How | None = None
    winner: str | None
    best_so_far: str | None = None
    reasons: tuple[str, ...]
    reference: str
    metric: QualityMetric | None
    standings: Annotated[tuple[Standing, ...], Field(min_length=1)]
    tie: Tie | None = None
    sensitivity: tuple[Sensitivity, ...] = ()
    what_if: WhatIf | None = None
    production: Production = Production()
    settings: DecisionSettings
    environment: Environment
    measurements: tuple[UsedMeasurement, ...] = ()
    versions: Mapping[str, str] = {}
    incomplete: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()
    without_quality: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _speaks_of_its_standings(self) -> Self:
        labels = {standing.label for standing in self.standings}
        others = (self.winner, self.best_so_far, self.production.label)
        named = {self.reference, *(name for name in others if name is not None)}
        if not named <= labels:
            raise ValueError(f"{', '.join(sorted(named - labels))} is not among the standings")
        if (self.winner is not None) != (self.outcome == "winner") or (self.how is None) != (
            self.winner is None
        ):
            raise ValueError(f"outcome {self.outcome!r} does not go with winner {self.winner!r}")
        if self.what_if is not None and not self.what_if.candidates <= set(range(len(self.standings))):
            raise ValueError("what_if names a candidate that is not among the standings")
        if self.best_so_far is not None and self.outcome != "undecided":
            raise ValueError(f"outcome {self.outcome!r} does not go with a best so far")
        return self

    @property
    def is_pass(self) -> bool:
        """Whether there is a winner, and all measurements count as done."""
        return self.outcome == "winner" and not self.not_done

    @property
    def has_quality(self) -> bool:
        """Whether the quality of any candidate was measured."""
        return len(self.without_quality) < len(self.standings)

    @property
    def winning_standing(self) -> Standing | None:
        """Standing of the winner, or None."""
        return next((standing for standing in self.standings if standing.place == "winner"), None)


def decide(
    candidates: Sequence[Candidate],
    settings: DecisionSettings,
    incomplete: Sequence[str] = (),
    production: Production | None = None,
) -> Decision:
    """Rank the candidates; equal inputs give an equal decision, byte for byte.

    Args:
        candidates: Candidates; the first one is the reference of the score.
        settings: Objective, constraints, confidence.
        incomplete: Lines about candidates that cannot be ranked, for the reasons.
        production: Version in production.

    Raises:
        CannotTellError: There is nothing to compare, the measurements are of different environments or
            documents, or the quantile has too few samples.
    """
    sound, unsound = leave_out_faults(candidates)
    if not sound:
        needed = "both a quality and" if settings.objective.needs_quality else "sound numbers of"
        raise CannotTellError(
            "\n".join([f"no candidate has {needed} a latency measurement; run `bakeoff bench`", *unsound])
        )
    refuse_unlike(sound, settings)
    contest = hold_contest(sound, settings, production or Production())
    winner, how = find_winner(contest)
    tie = explain_tie(contest)
    unranked = (*unsound, *incomplete)
    order = order_of_places(contest, winner)
    return Decision(
        outcome=name_outcome(contest, winner),
        how=how,
        winner=contest.labels[winner] if winner is not None else None,
        best_so_far=contest.labels[contest.leader]
        if contest.undecided and contest.leader is not None
        else None,
        reasons=(
            *_judge(contest, winner, tie),
            *_note_missing_quality(contest),
            *_note_end_to_end(contest),
            *_low_confidence(contest),
            *unranked,
        ),
        reference=sound[0].label,
        metric=QualityMetric.of(contest.evidence.metric) if contest.evidence.metric else None,
        standings=tuple(stand(contest, n, winner) for n in order),
        tie=tie,
        sensitivity=find_sensitivity(contest),
        what_if=find_what_if(contest, order),
        production=contest.production,
        settings=settings,
        environment=sound[0].environment,
        incomplete=unranked,
        not_done=tuple(candidate.label for candidate in sound if not candidate.is_done),
        without_quality=_list_without_quality(contest),
    )


def read_decision(document: bytes, place: str) -> Decision:
    """Read a stored decision, which carries the digest of its own bytes.

    Args:
        document: Content of its file.
        place: Origin of the bytes, for the message.

    Raises:
        DataError: It is damaged or not a decision, or another version of bakeoff wrote it.
    """
    try:
        return read_sealed(document, Decision)
    except ValueError as error:
        raise DataError(place, found=str(error), expected=_EXPECTED) from error


def parse_decision(values: Mapping[str, Any], place: str) -> Decision:
    """Read a decision from its JSON values, such as the ``result`` that `bakeoff decide --json` prints.

    Args:
        values: The values, without a digest.
        place: Origin of the values, for the message.

    Raises:
        DataError: It is not a decision, or one of another version of bakeoff.
    """
    try:
        return read_values(values, Decision)
    except ValueError as error:
        raise DataError(place, found=str(error), expected=_EXPECTED) from error


def list_used(measurements: Sequence[Measurement]) -> tuple[UsedMeasurement, ...]:
    """List the measurements of a decision in their order, which decides the reference."""
    return tuple(
        UsedMeasurement(key=each.job.key, attempt=each.attempt, measured_at=each.measured_at)
        for each in measurements
    )


def digest_inputs(
    measurements: Sequence[UsedMeasurement],
    settings: DecisionSettings,
    production: Production,
    versions: Mapping[str, str],
) -> str:
    """Digest the inputs of a decision; decisions from equal inputs are equal.

    Args:
        measurements: Measurements in the order of their jobs, which decides the reference.
        settings: Settings of the decision; the run mode does not count.
        production: Version in production.
        versions: Versions of the software that decides, by name.
    """
    return digest_json(
        {
            "format_version": Decision.model_fields["format_version"].default,
            "settings": settings.model_dump(mode="json", exclude={"run"}),
            "measurements": [each.model_dump(mode="json") for each in measurements],
            "production": production.model_dump(mode="json"),
            "versions": dict(versions),
        }
    )


def leave_out_faults(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """Separate the candidates with sound numbers; return a line for each of the others."""
    faults = [find_fault(candidate) for candidate in candidates]
    sound = [candidate for candidate, fault in zip(candidates, faults, strict=True) if fault is None]
    unsound = [
        f"{candidate.label}: not ranked: {fault}; measure it again"
        for candidate, fault in zip(candidates, faults, strict=True)
        if fault is not None
    ]
    return sound, unsound


def _judge(contest: Contest, winner: int | None, tie: Tie | None) -> tuple[str, ...]:
    leader = contest.leader
    if contest.undecided:
        return _explain_undecided(contest)
    if leader is None:
        more = " and has a cost" if contest.ranking.unknown else ""
        return (f"no candidate meets every constraint{more}",)
    if tie is None:
        share = f"best in {contest.p_best[leader]:.1%} of resamples"
        verb = "is" if contest.settings.objective.kind in {"lexicographic", "fastest"} else "has"
        return (f"{contest.labels[leader]} {verb} the {name_best(contest.settings)} ({share})",)
    first = f"{_join(tie.labels)} are statistically tied"
    if winner is not None:
        rule = f"{contest.labels[winner]} is the fastest of them, and decision.when_tied is fastest"
        return first, rule, _describe_fix(tie)
    return first, f"{_describe_fix(tie)}; set decision.when_tied to let the fastest of them win"


def _explain_undecided(contest: Contest) -> tuple[str, ...]:
    """Name the leader, the candidates that may still be better, and the way to settle it."""
    leader, labels = contest.leader, contest.labels
    others = [n for n in contest.undecided if n != leader]
    lines = []
    if leader is not None:
        share = f"best in {contest.p_best[leader]:.1%} of resamples"
        lines.append(f"{labels[leader]} is the best so far ({share})")
    if others:
        may = "may still be better" if leader is not None else "may meet every constraint"
        lines.append(f"{_join([labels[n] for n in others])} {may}: a constraint is undecided")
    if leader in contest.undecided and leader is not None:
        lines.append(f"{labels[leader]} itself: {'; '.join(list_open_points(contest, leader))}")
    has_gap = any(contest.qualities[n] is None for n in contest.undecided)
    if has_gap and any(limit.kind.startswith("quality") for limit in contest.settings.constraints):
        return (*lines, "to settle it, measure quality (benchmark.scenarios), or change the constraint")
    is_busy = any(contest.evidence.candidates[n].is_contended for n in contest.undecided)
    more = "more repeats (benchmark.protocol.min_repeats)"
    measure = "again when the machine is quiet" if is_busy else more
    return (*lines, f"to settle it, measure {measure}, or change the constraint")


def _describe_fix(tie: Tie) -> str:
    if not tie.enough:
        what = "repeats" if tie.now.documents is None else "documents and repeats"
        return f"no reasonable number of {what} would break the tie"
    ways = " or ".join(
        " and ".join(
            [
                *([count(effort.documents, "document")] if effort.documents is not None else []),
                count(effort.repeats, "repeat"),
            ]
        )
        for effort in tie.enough
    )
    now = " and ".join(f"{each:,}" for each in (tie.now.documents, tie.now.repeats) if each is not None)
    return f"breaking the tie would take about {ways} (you have {now}), if the differences are as found"


def _list_without_quality(contest: Contest) -> tuple[str, ...]:
    return tuple(
        label for label, found in zip(contest.labels, contest.qualities, strict=True) if found is None
    )


def _note_missing_quality(contest: Contest) -> tuple[str, ...]:
    """Say that quality was not measured, of all or of some: a reader must not take speed for merit."""
    missing = _list_without_quality(contest)
    if not missing:
        return ()
    if len(missing) == len(contest.labels):
        return ("quality was not measured: this ranking is by speed alone",)
    return (f"the quality of {_join(missing)} was not measured",)


def _note_end_to_end(contest: Contest) -> tuple[str, ...]:
    if not any(candidate.is_end_to_end for candidate in contest.evidence.candidates):
        return ()
    return ("latency is end to end: from a row to its prediction, tokenisation included",)


def _low_confidence(contest: Contest) -> tuple[str, ...]:
    candidates = contest.evidence.candidates
    n_contended = sum(candidate.is_contended for candidate in candidates)
    lines = []
    if n_contended:
        lines.append(
            f"low confidence: the machine was busy while {n_contended} of {len(candidates)} "
            "candidates were measured, so only their ratios count; measure again when it is quiet"
        )
    not_done = [candidate.label for candidate in candidates if not candidate.is_done]
    if not_done:
        lines.append(
            f"not a pass: the machine was too busy while {_join(not_done)} "
            f"{'was' if len(not_done) == 1 else 'were'} measured; run `bakeoff bench` again, or set "
            "benchmark.accept_contended"
        )
    return tuple(lines)


def _join(labels: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def refuse_unlike(candidates: Sequence[Candidate], settings: DecisionSettings) -> None:
    """Refuse candidates that cannot be ranked together.

    Raises:
        CannotTellError: They differ in task, documents, environment or device, or two have one name.
    """
    if len({candidate.label for candidate in candidates}) < len(candidates):
        raise CannotTellError("two candidates have the same name; keep one champion per backbone")
    kinds = sorted({candidate.task.kind for candidate in candidates})
    if len(kinds) > 1:
        raise CannotTellError(f"the candidates have different tasks ({', '.join(kinds)}); decide on one task")
    judged = [candidate for candidate in candidates if candidate.outcomes is not None]
    if len({candidate.quality_inputs_digest for candidate in judged}) > 1:
        raise CannotTellError("the candidates were scored on different documents; run `bakeoff bench`")
    if len({candidate.latency_inputs_digest for candidate in candidates}) > 1:
        raise CannotTellError("the candidates were timed on different texts; run `bakeoff bench`")
    environments = {candidate.environment.digest: candidate.environment for candidate in candidates}
    if len(environments) > 1 and not settings.allow_unlike_environments:
        shown = "; ".join(
            f"{environment.hardware.label}, {dict(environment.libraries)}"
            for environment in environments.values()
        )
        raise CannotTellError(
            f"the measurements are of different environments ({shown}); measure all in one environment "
            "with run.mode force_new, or set decision.allow_unlike_environments"
        )
    devices = sorted({candidate.device for candidate in candidates})
    if len(devices) > 1 and not settings.allow_unlike_environments:
        raise CannotTellError(
            f"the candidates run on different devices ({', '.join(devices)}), whose price latency does not "
            "show; decide on one device, or set decision.allow_unlike_environments"
        )

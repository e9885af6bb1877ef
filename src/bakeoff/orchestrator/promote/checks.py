"""Evidence for a promotion: the winner's measurements, and every reason why they no longer hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bakeoff.core.decision.decide import Decision
from bakeoff.core.decision.production import Production
from bakeoff.core.decision.standings import Standing
from bakeoff.core.job import Job
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.records import AnyModel, Measurement
from bakeoff.disk.digest import shorten
from bakeoff.errors import (
    AnswerIsNoError,
    BakeoffError,
    CannotTellError,
    NoChampionError,
    NoWinnerError,
    PromotionRefusedError,
    StaleDecisionError,
    UserError,
)
from bakeoff.measure.backends.availability import library_versions
from bakeoff.orchestrator.champions import select_champions
from bakeoff.orchestrator.checkpoints import find_champions
from bakeoff.orchestrator.decide import decide, has_names
from bakeoff.orchestrator.named_models import identify_models
from bakeoff.orchestrator.project import Project
from bakeoff.serving import LIBRARIES


@dataclass(frozen=True)
class PromotionEvidence:
    """Winner of a decision, with its measurements.

    Attributes:
        job: One of the winner's jobs; it names the runtime, checkpoint and token limit.
        model: Champion or named model with the checkpoint to promote.
        faults: Reasons against the promotion; empty if there are none.
    """

    winner: Standing
    job: Job
    model: AnyModel
    faults: tuple[BakeoffError, ...]


def gather_evidence(project: Project, decision: Decision) -> PromotionEvidence:
    """Find the winner's measurements, and every reason against its promotion.

    Raises:
        NoWinnerError: The decision names no winner.
        PromotionRefusedError: Models of this task answer no requests; nothing overrides that.
        StaleDecisionError: The winner's run is no longer a champion, or no named model has its content.
        UserError: No measurement of the winner is on this disk, so its runtime and checkpoint are unknown.
    """
    winner = decision.winning_standing
    if winner is None:
        raise NoWinnerError(decision.reasons)
    existing = [
        row
        for row in project.results.list_existing([winner.champion_run_id])
        if row.key in winner.benchmark_keys
    ]
    measured = [row for row in existing if row.state in ("valid", "invalid")]
    if not measured:
        raise UserError(
            f"{winner.label}: none of its measurements is on this disk; run `bakeoff bench`, which fetches "
            "them from the tracking store"
        )
    job = _load(project, measured[-1]).job
    if not job.task.serves_requests:
        raise PromotionRefusedError(
            winner.label,
            found=f"the task {job.task.kind} serves no requests",
            fix="deploy its file as it is",
            can_be_forced=False,
        )
    faults = (
        *_find_stale(project, decision),
        *_find_invalid(winner, existing),
        *_find_other_libraries(winner, decision, job),
    )
    return PromotionEvidence(winner=winner, job=job, model=_find_model(project, winner), faults=faults)


def _find_stale(project: Project, decision: Decision) -> Iterator[BakeoffError]:
    """Decide again, and find out whether inputs and winner are still the same."""
    path = project.decision_path
    if not decision.inputs_digest:
        yield StaleDecisionError(path, found="it does not record its inputs")
        return
    try:
        now = decide(project)
    except (CannotTellError, NoChampionError) as error:
        yield StaleDecisionError(path, found=str(error))
        return
    if _inputs(now) != _inputs(decision):
        yield StaleDecisionError(path, found="measurements, champions or settings have changed since")
    elif not has_names(decision, {row.champion_run_id: row.backbone for row in now.standings}):
        yield StaleDecisionError(path, found="a model has another name since")
    elif now.winner != decision.winner and not _has_own_winner(decision, now.production):
        found = f"version {now.production.version} is in production now, and changes the winner"
        yield StaleDecisionError(path, found=found)


def _inputs(decision: Decision) -> tuple[object, ...]:
    return decision.measurements, decision.settings, dict(decision.versions)


def _has_own_winner(decision: Decision, production: Production) -> bool:
    """Return whether the decision's winner is in production, where a repeated promotion finds it."""
    winner = decision.winning_standing
    return winner is not None and (production.checkpoint_digest, production.runtime) == (
        winner.checkpoint_digest,
        winner.runtime,
    )


def _find_invalid(winner: Standing, existing: Sequence[ExistingBenchmark]) -> Iterator[AnswerIsNoError]:
    for key in winner.benchmark_keys:
        attempts = [row for row in existing if row.key == key]
        if not any(row.state == "valid" for row in attempts):
            reason = attempts[-1].reason if attempts else "it is not on this disk"
            yield PromotionRefusedError(
                winner.label,
                found=f"one of its measurements is not valid ({reason})",
                fix="run `bakeoff bench` on a quiet machine, then `bakeoff decide`",
            )


def _find_other_libraries(winner: Standing, decision: Decision, job: Job) -> Iterator[AnswerIsNoError]:
    """Find libraries whose version here, which the model will use, is not the measured one."""
    measured = decision.environment.libraries
    here = library_versions(*LIBRARIES, *job.runtime.libraries)
    other = [
        f"{name} {version} (measured with {measured[name]})"
        for name, version in here.items()
        if name in measured and measured[name] != version
    ]
    if other:
        yield PromotionRefusedError(
            winner.label,
            found=f"other library versions are installed here, {', '.join(other)}",
            fix="promote on the machine that measured, or measure again here",
        )


def _find_model(project: Project, winner: Standing) -> AnyModel:
    """Find the winner's model, and give it the digest of the measured checkpoint."""
    if winner.is_named:
        return _find_named(project, winner)
    for selection in select_champions(project).values():
        if selection.champion is not None and selection.champion.run_id == winner.champion_run_id:
            return selection.champion.replace(checkpoint_digest=winner.checkpoint_digest)
    found = f"{winner.label}: run {winner.champion_run_id} is no longer a champion"
    raise StaleDecisionError(project.decision_path, found=found, can_be_forced=False)


def _find_named(project: Project, winner: Standing) -> AnyModel:
    models: Sequence[AnyModel]
    errors = dict[str, BakeoffError]()
    if winner.backbone in project.settings.hpo.backbones:  # a champion that is an MLflow model
        models = find_champions(project)
    else:
        models, errors = identify_models(project)
    found = next((model for model in models if model.run_id == winner.champion_run_id), None)
    if found is not None:
        return found
    if winner.backbone in errors:
        raise errors[winner.backbone]
    content = f"no model of {project.place('models')} has its content {shorten(winner.checkpoint_digest)}"
    raise StaleDecisionError(
        project.decision_path, found=f"{winner.label}: {content} any more", can_be_forced=False
    )


def _load(project: Project, row: ExistingBenchmark) -> Measurement:
    found = project.results.load(row.key or "", row.attempt)
    if not isinstance(found, Measurement):
        raise TypeError(f"{row.key} attempt {row.attempt} is {row.state}, but not a measurement")
    return found

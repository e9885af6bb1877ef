"""Models to measure, and their checkpoints: given or fetched; a failure skips one model only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bakeoff.core.config.models import ModelSource
from bakeoff.core.plan.jobs import Plan
from bakeoff.core.records import AnyModel, Champion, SomeModel, SourceKind
from bakeoff.disk.digest import shorten
from bakeoff.errors import BakeoffError, CheckpointError, ConfigError, NoChampionError, UserError
from bakeoff.measure.model.opening import open_model
from bakeoff.orchestrator.champions import require_champions, select_champions
from bakeoff.orchestrator.labels import require_fitting_files
from bakeoff.orchestrator.named_models import identify_model, identify_models, look_at_source
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project

OnSkip = Callable[[AnyModel, BakeoffError], None]


def _describe_skip(model: AnyModel, error: BakeoffError) -> str:
    return f"{model.backbone}: skipped, since it has no checkpoint: {error}"


def _warn_skipped(model: AnyModel, error: BakeoffError) -> None:
    warn(_describe_skip(model, error))


def find_models(project: Project) -> tuple[AnyModel, ...]:
    """Find every model to measure: the champions of the backbones, then the named models.

    A model that cannot be had is reported and skipped, as long as another one is left. A named model with the
    content of a champion is skipped too, so that one content is measured once.

    Raises:
        ConfigError: Two names have the same content.
        ModelSourceError: No backbone is configured, and the only named model cannot be had.
        NoChampionError: No backbone has a champion with a checkpoint, and no named model is left.
        TrackingError: The store does not answer.
    """
    settings, no_champion = project.settings, None
    champions: tuple[AnyModel, ...] = ()
    if settings.hpo.backbones:
        try:
            champions = find_champions(project)
        except NoChampionError as error:
            if not settings.models:
                raise
            no_champion = error
    named, errors = identify_models(project)
    twins = {champion.checkpoint_digest: champion.backbone for champion in champions}
    if not champions and not named:
        raise no_champion or _join(list(errors.values()))
    if no_champion is not None:
        project.warn_once("; ".join(line.strip() for line in str(no_champion).splitlines()))
    for name, fault in errors.items():
        project.warn_once(f"{name}: skipped: {fault}")
    for model in named:
        if model.checkpoint_digest in twins:
            other = twins[model.checkpoint_digest]
            project.warn_once(
                f"{model.backbone}: skipped, since the champion of {other} has the same content"
            )
    return (*champions, *(model for model in named if model.checkpoint_digest not in twins))


def keep_fitting(project: Project, models: Iterable[SomeModel]) -> tuple[SomeModel, ...]:
    """Keep the models whose files fit each other, as far as they are on this machine.

    Each other one is reported and skipped, as long as another one is left.

    Raises:
        CheckpointError: The files of the only model do not fit.
    """
    errors = list[BakeoffError]()

    def check(model: SomeModel, project: Project) -> SomeModel:
        require_fitting_files(project, model)
        return model

    def skip(model: AnyModel, error: BakeoffError) -> None:
        errors.append(error)
        project.warn_once(f"{model.backbone}: skipped: {error}")

    able = _keep_able(check, models, project, skip)
    if not able and errors:
        raise _join(errors)
    return able


def _join(errors: list[BakeoffError]) -> BakeoffError:
    """Return one error for all; an outage comes first, since the others may be its consequence."""
    worst = max(errors, key=lambda error: error.exit_code)
    if len(errors) == 1 or not isinstance(worst, UserError):
        return worst
    return ConfigError([str(error) for error in errors])


def find_champions(project: Project) -> tuple[AnyModel, ...]:
    """Find the selected champions with the digests of their checkpoints, which identify their jobs.

    Other writers than bakeoff record no digest. Their checkpoint is acquired once to compute it. A champion
    that is an MLflow model whose code is trusted is measured as a model that you name by its URI.

    Raises:
        NoChampionError: No backbone has a champion with a checkpoint.
    """
    selections = select_champions(project)
    champions = require_champions(selections)
    for selection in selections.values():
        if selection.champion is None:
            project.warn_once(f"{selection.backbone}: skipped, since it has no champion: {selection.reason}")

    def skip(champion: AnyModel, error: BakeoffError) -> None:
        project.warn_once(_describe_skip(champion, error))

    able = _keep_able(_take_logged_model, list[AnyModel](champions), project, skip)
    identified = identify_checkpoints(able, project, skip)
    if not identified:
        missing = [f"{champion.backbone}: run {champion.run_id} has no checkpoint" for champion in champions]
        raise NoChampionError(missing, "see the warnings above, or run `bakeoff doctor`")
    return identified


def _take_logged_model(champion: AnyModel, project: Project) -> AnyModel:
    """Return a champion that is an MLflow model as a named model; return any other as it is."""
    if not isinstance(champion, Champion) or not project.settings.hpo.backbones[champion.backbone].trust_code:
        return champion
    uri = f"runs:/{champion.refit_run_id}/{champion.checkpoint_artifact}"
    source = ModelSource(source=uri, trust_code=True)
    if look_at_source(project, champion.backbone, source).content.kind is not SourceKind.PYFUNC:
        return champion
    model = identify_model(project, champion.backbone, source)
    if champion.checkpoint_digest not in {None, model.checkpoint_digest}:
        raise CheckpointError(
            uri,
            found=f"its content has digest {shorten(model.checkpoint_digest)}, the refit recorded "
            f"{shorten(str(champion.checkpoint_digest))}",
            fix="restore the trained files, or run the refit again",
        )
    return model


def acquire_checkpoints(champions: Iterable[SomeModel], project: Project) -> tuple[SomeModel, ...]:
    """Give each champion the folder of its checkpoint on this machine, and its digest.

    Args:
        champions: Champions; a folder in ``checkpoint_path`` is checked, and nothing is fetched.
        project: Project with the cache, which is tried first, and the tracking store.

    Returns:
        The champions with a checkpoint; each other one is reported and skipped.
    """
    return _keep_able(_acquire, champions, project, _warn_skipped)


def identify_checkpoints(
    champions: Iterable[SomeModel], project: Project, on_skip: OnSkip = _warn_skipped
) -> tuple[SomeModel, ...]:
    """Give each champion the digest of its checkpoint, which identifies its jobs.

    A checkpoint is read, or acquired, only if its writer recorded no digest.

    Args:
        champions: Champions, with or without a digest.
        project: Project with the cache and the tracking store.
        on_skip: Called with each model that has no checkpoint, and the reason.

    Returns:
        The champions with a digest; each other one is reported and skipped.
    """
    return _keep_able(_identify, champions, project, on_skip)


def acquire_for(plan: Plan, project: Project, on_skip: OnSkip = _warn_skipped) -> Plan:
    """Acquire the checkpoints that a plan measures, and drop the jobs of those that cannot be acquired.

    Args:
        plan: Plan of all jobs.
        project: Project with the cache and the tracking store.
        on_skip: Called with each model that has no checkpoint, and the reason.

    Returns:
        The plan, with the checkpoint in the model of each job to measure.
    """
    acquired = _keep_able(_acquire, plan.models_to_measure, project, on_skip)
    ready = {model.run_id: model for model in acquired}
    return Plan(
        jobs=tuple(
            planned.replace(model=ready.get(planned.model.run_id, planned.model))
            for planned in plan.jobs
            if planned.action != "measure" or planned.model.run_id in ready
        )
    )


def find_checkpoint(model: AnyModel, project: Project) -> Path:
    """Return the folder of a model's checkpoint; acquire it if necessary.

    If both folder and digest are given, only the form is checked here. The worker compares the content with
    the digest right before it loads it.

    Raises:
        CheckpointError: The folder is not a checkpoint, or not the one that the refit logged.
    """
    if model.checkpoint_path is not None and model.checkpoint_digest is not None:
        open_model(model.checkpoint_path, model.loads_as)
        return model.checkpoint_path
    return project.checkpoints.acquire(model, project.tracker.download)


def _acquire(model: SomeModel, project: Project) -> SomeModel:
    identified = _identify(model, project)
    return identified.replace(checkpoint_path=find_checkpoint(identified, project))


def _identify(model: SomeModel, project: Project) -> SomeModel:
    if project.is_offline and project.checkpoints.find_digest(model) is None:
        raise UserError(
            "it was never acquired, and bakeoff is offline; run `bakeoff plan` once while the store answers"
        )
    return project.checkpoints.identify(model, project.tracker.download)


def _keep_able(
    act: Callable[[SomeModel, Project], SomeModel],
    models: Iterable[SomeModel],
    project: Project,
    on_skip: OnSkip,
) -> tuple[SomeModel, ...]:
    able = []
    for model in models:
        try:
            able.append(act(model, project))
        except BakeoffError as error:
            on_skip(model, error)
    return tuple(able)

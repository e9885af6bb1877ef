"""Decide, and keep the decision."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bakeoff.core.config.settings import RunSettings
from bakeoff.core.decision import decide as deciding
from bakeoff.core.decision.candidates import assemble_candidates
from bakeoff.core.decision.decide import Decision, digest_inputs, list_used
from bakeoff.core.decision.production import Production
from bakeoff.core.plan.existing import (
    STANDARD,
    ExistingBenchmark,
    find_other_presets,
    invalid_attempts,
    valid_attempts,
)
from bakeoff.core.records import Job, Measurement
from bakeoff.core.run_mode import Step, choose_step
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.errors import CannotTellError, DataError, TrackingError, UserError
from bakeoff.orchestrator.checkpoints import find_champions
from bakeoff.orchestrator.hardware import recall_hardware
from bakeoff.orchestrator.plan import build_jobs, find_existing
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.tracking import decisions, registry


class SentDecision(Record):
    """Where a decision was logged."""

    format_version: Literal[1] = 1
    decision_digest: str
    store: str
    run_id: str


def decide(project: Project) -> Decision:
    """Rank all candidates of the champions that are measured on this hardware.

    Where a machine was too busy for a measurement to count as done, its ratios are ranked all the same, and
    the decision says that it has low confidence.

    What the run mode of the decision says is done: the stored decision answers where its inputs are those of
    now; ``force_new`` decides anew.

    Raises:
        CannotTellError: Nothing is measured, or it cannot be compared.
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer.
        UserError: The run mode starts nothing new, and no decision was begun.
    """
    champions = find_champions(project)
    jobs = [asked.job for asked in build_jobs(project, champions, recall_hardware(project))]
    existing = find_existing(project, champions)
    found = [
        project.results.load_valid(job, valid_attempts(existing, job.key))
        or project.results.load_contended(job, invalid_attempts(existing, job.key))
        for job in jobs
    ]
    measurements = [measurement for measurement in found if measurement is not None]
    settings = project.settings.decision.model_copy(update={"run": RunSettings()})
    stored = _find_stored(project)
    production, versions = _find_production(project, stored), _list_versions()
    used = list_used(measurements)
    inputs = digest_inputs(used, settings, production, versions)
    step = choose_step(
        project.decision_mode,
        exists=stored is not None,
        is_complete=stored is not None and stored.inputs_digest == inputs,
    )
    if step in (Step.REUSE, Step.LEAVE):
        if stored is None:
            raise UserError(
                "decision.run.mode is resume_if_incomplete, and no decision was begun; "
                "set it to reuse_if_exists to make one"
            )
        project.progress.say(f"nothing that decides has changed: {project.decision_path} stands")
        return stored
    folds = {champion.run_id: champion.fold_metrics for champion in champions}
    candidates, incomplete = assemble_candidates(measurements, settings, folds)
    if not candidates:
        missing = [job for job, measurement in zip(jobs, found, strict=True) if measurement is None]
        raise CannotTellError(_explain_missing(missing, existing))
    made = deciding.decide(candidates, settings, incomplete, production)
    return made.model_copy(update={"inputs_digest": inputs, "measurements": used, "versions": versions})


def _find_production(project: Project, stored: Decision | None) -> Production:
    """What is in production; offline as the stored decision knew it.

    A registry that cannot be asked, or that may not be read, hinders no decision: what hangs on production
    cannot be told then, and says so.
    """
    if project.is_offline:
        if stored is None:
            return Production(reason="offline the registry is not asked")
        known = stored.production
        return known.model_copy(update={"label": None, "reason": ""}) if known.version else known
    model = project.settings.tracking.registered_model
    try:
        return registry.find_production(project.tracker, model)
    except TrackingError as error:
        project.progress.say(f"warning: what is in production is not known: {error}")
        return Production(model=model, reason=f"the registry could not be asked about {model}")


def _list_versions() -> dict[str, str]:
    """Of what computes a decision."""
    return {name: version(name) for name in ("bakeoff", "numpy", "scipy")}


def _explain_missing(missing: Sequence[Job], existing: Sequence[ExistingBenchmark]) -> str:
    """What is not measured; and how to decide by what was measured with another preset, if it was."""
    labels = ", ".join(job.label for job in missing)
    presets = sorted({preset for job in missing for preset in find_other_presets(job, existing)})
    if not presets:
        return f"no candidate is measured on this hardware; missing: {labels}; run `bakeoff bench`"
    preset = presets[0]
    flag = f"with --{preset}" if preset != STANDARD else "without --quick and --rigorous"
    return (
        f"no candidate is measured with this benchmark.protocol; missing: {labels}; they were measured with "
        f"the preset {preset}: run `bakeoff decide` {flag}, or measure them anew with `bakeoff bench`"
    )


def save_decision(
    project: Project, decision: Decision, files: Sequence[Path] = (), *, is_new: bool = False
) -> str | None:
    """Write the decision to disk, then log it with further files.

    Args:
        project: Whose decision.
        decision: As ``decide`` made it.
        files: Logged beside.
        is_new: Log a run of its own; otherwise the run of the same decision is adopted, if there is one.

    Returns:
        The decision run's id; None offline, where nothing is logged.

    Raises:
        TrackingError: The store does not answer; the decision is on disk.
    """
    durable.write_json(project.decision_path, decision.model_dump(mode="json"))
    if project.is_offline:
        project.progress.say("offline: the decision is on disk; `bakeoff sync` logs it later")
        return None
    return send_decision(project, decision, files, is_new=is_new)


def send_decision(
    project: Project, decision: Decision, files: Sequence[Path] = (), *, is_new: bool = False
) -> str:
    """Log the decision that is on disk, and note that it was; the arguments are those of ``save_decision``.

    Raises:
        TrackingError: The store does not answer; the decision is on disk.
    """
    experiment_id = project.ensure_benchmark_experiment()
    run_id = decisions.log_decision(
        project.tracker, experiment_id, decision, [project.decision_path, *files], is_new=is_new
    )
    mark = SentDecision(decision_digest=_digest_of(decision), store=project.tracker.shown_uri, run_id=run_id)
    durable.write_json(_mark_path(project), mark.model_dump(mode="json"))
    return run_id


def find_unsent_decision(project: Project) -> Decision | None:
    """The decision on disk, if the tracking store has not got it."""
    decision = _find_stored(project)
    try:
        mark = SentDecision.model_validate_json(_mark_path(project).read_bytes())
    except (OSError, ValidationError):
        return decision
    if decision is None:
        return None
    is_sent = (mark.store, mark.decision_digest) == (project.tracker.shown_uri, _digest_of(decision))
    return None if is_sent else decision


def _mark_path(project: Project) -> Path:
    return project.decision_path.with_suffix(".logged")


def _digest_of(decision: Decision) -> str:
    return digest_json(decision.model_dump(mode="json"))


def _find_stored(project: Project) -> Decision | None:
    """The stored decision, or None where there is none that can be read: then one is made."""
    try:
        return load_decision(project)
    except UserError:
        return None


def load_decision(project: Project) -> Decision:
    """The last decision of the project.

    Raises:
        DataError: The file is broken.
        UserError: There is none.
    """
    path = project.decision_path
    if not path.is_file():
        raise UserError(f"{path}: no decision was made yet; run `bakeoff decide`")
    try:
        return Decision.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            str(path), found=f"{error.error_count()} faults", expected="a file that `bakeoff decide` wrote"
        ) from error


def recall_measurements(project: Project, decision: Decision) -> tuple[Measurement, ...]:
    """The measurements that a decision was made from, with their raw values, as far as this disk holds them.

    One that is not here, or is broken, is told and left out: the decision holds what was concluded from it.
    """
    found = []
    for used in decision.measurements:
        try:
            attempt = project.results.load(used.key, used.attempt)
        except DataError as error:
            project.progress.say(f"warning: the report lacks a measurement: {error}")
            continue
        if isinstance(attempt, Measurement):
            found.append(attempt)
    return tuple(found)

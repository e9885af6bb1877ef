"""Decide, and store the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bakeoff.core.config.quality_limits import FASTEST
from bakeoff.core.config.settings import RunSettings
from bakeoff.core.decision import decide as deciding
from bakeoff.core.decision.candidates import assemble_candidates
from bakeoff.core.decision.decide import Decision, digest_inputs, list_used, read_decision
from bakeoff.core.decision.production import Production
from bakeoff.core.decision.race import find_hopeless_among
from bakeoff.core.job import Job, is_race
from bakeoff.core.plan.existing import (
    STANDARD,
    ExistingBenchmark,
    find_other_presets,
    invalid_attempts,
    valid_attempts,
)
from bakeoff.core.records import Champion, Measurement
from bakeoff.core.run_mode import Step, choose_step
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.disk.inputs import MAX_RECORD_BYTES, UnsuitableFileError, read_regular
from bakeoff.disk.sealed import seal_json
from bakeoff.errors import CannotTellError, DataError, TrackingError, UserError
from bakeoff.orchestrator.checkpoints import find_models
from bakeoff.orchestrator.hardware import recall_hardware
from bakeoff.orchestrator.plan import build_jobs, choose_measured, find_existing
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.tracking import decisions, registry

_BY_SPEED = f"; or set decision.objective to {FASTEST}, which ranks by speed alone"


class SentDecision(Record):
    """Mark that a decision was logged, and in which store."""

    format_version: Literal[1] = 1
    decision_digest: str
    store: str
    run_id: str


def decide(project: Project) -> Decision:
    """Rank all candidates that are measured on this hardware.

    A measurement from a busy machine does not count as done. Its ratios are ranked all the same, and the
    decision says that its confidence is low.

    A stored decision with equal inputs is reused, unless the run mode is ``force_new``.

    Raises:
        CannotTellError: No candidate is measured, or the measurements cannot be compared.
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer.
        UserError: The run mode only resumes, and no decision exists.
    """
    champions = find_models(project)
    existing = find_existing(project, champions)
    jobs = choose_measured(project, build_jobs(project, champions, recall_hardware(project)), existing)
    found = [
        project.results.load_valid(job, valid_attempts(existing, job.key))
        or project.results.load_contended(job, invalid_attempts(existing, job.key))
        for job in jobs
    ]
    measurements = [measurement for measurement in found if measurement is not None]
    settings = project.settings.decision.replace(run=RunSettings())
    stored = find_stored(project)
    production, versions = find_production(project, stored), _list_versions()
    used = list_used(measurements)
    inputs = digest_inputs(used, settings, production, versions)
    step = choose_step(
        project.decision_mode,
        exists=stored is not None,
        is_complete=stored is not None
        and stored.inputs_digest == inputs
        and has_names(stored, {job.champion_run_id: job.backbone for job in jobs}),
    )
    if step in (Step.REUSE, Step.LEAVE):
        if stored is None:
            raise UserError(
                "decision.run.mode: found resume_if_incomplete, but no decision to resume; "
                "set it to reuse_if_exists"
            )
        project.progress.say(f"{project.decision_path}: reused, its inputs have not changed")
        return stored
    folds = {
        champion.run_id: champion.fold_metrics for champion in champions if isinstance(champion, Champion)
    }
    untimed = find_hopeless_among(measurements, settings) if any(map(is_race, jobs)) else {}
    candidates, incomplete = assemble_candidates(measurements, settings, folds, untimed)
    if not candidates:
        missing = [job for job, measurement in zip(jobs, found, strict=True) if measurement is None]
        raise CannotTellError(_explain_missing(missing, existing, measurements))
    made = deciding.decide(candidates, settings, incomplete, production)
    return made.replace(inputs_digest=inputs, measurements=used, versions=versions)


def has_names(decision: Decision, names: Mapping[str, str]) -> bool:
    """Return whether a decision calls its models so; a named model may be renamed, which measures nothing.

    Args:
        decision: Decision to check.
        names: Name of each model by its id.
    """
    return all(names.get(row.champion_run_id, row.backbone) == row.backbone for row in decision.standings)


def find_production(project: Project, stored: Decision | None) -> Production:
    """Find the version in production; offline, take it from the stored decision.

    A registry that fails does not stop the decision. The parts that compare with production then give the
    reason why they are missing.

    Args:
        project: Project whose registered model is asked for.
        stored: Stored decision, if there is one; only needed offline.
    """
    if project.is_offline:
        if stored is None:
            return Production(reason="the registry is not read offline")
        known = stored.production
        return known.replace(label=None, reason="") if known.version else known
    model = project.settings.tracking.registered_model
    try:
        return registry.find_production(project.tracker, model)
    except TrackingError as error:
        warn(f"the version in production is unknown: {error}")
        return Production(model=model, reason=f"the registry entry of {model} could not be read")


def _list_versions() -> dict[str, str]:
    """Return the versions of the libraries that compute a decision."""
    return {name: version(name) for name in ("bakeoff", "numpy", "scipy")}


def _explain_missing(
    missing: Sequence[Job], existing: Sequence[ExistingBenchmark], measured: Sequence[Measurement]
) -> str:
    """Name what is not measured, and the preset with which it was measured, if there is one."""
    kinds = {measurement.job.scenario.kind for measurement in measured}
    for kind in ("latency", "quality"):
        if measured and kind not in kinds and not any(job.scenario.kind == kind for job in missing):
            line = f"no candidate has a {kind} measurement; add {kind} to benchmark.scenarios, and run "
            return f"{line}`bakeoff bench`{_BY_SPEED if kind == 'quality' else ''}"
    labels = ", ".join(job.label for job in missing)
    presets = sorted({preset for job in missing for preset in find_other_presets(job, existing)})
    if not presets:
        fix = _BY_SPEED if "latency" in kinds and "quality" not in kinds else ""
        return f"no candidate is measured on this hardware (missing: {labels}); run `bakeoff bench`{fix}"
    preset = presets[0]
    flag = f"with --{preset}" if preset != STANDARD else "without --quick and --rigorous"
    return (
        f"no candidate is measured with this benchmark.protocol (missing: {labels}; measured with the preset "
        f"{preset}); run `bakeoff decide` {flag}, or `bakeoff bench` to measure with this protocol"
    )


def save_decision(
    project: Project, decision: Decision, files: Sequence[Path] = (), *, is_new: bool = False
) -> str | None:
    """Write the decision to disk, then log it with further files.

    Args:
        project: Project of the decision.
        decision: Decision that ``decide`` made.
        files: Files to log alongside the decision.
        is_new: Whether to log a new run even if the same decision has one.

    Returns:
        Id of the decision's run; None offline, because nothing is logged.

    Raises:
        TrackingError: The store does not answer; the decision is on disk.
    """
    durable.write_bytes(project.decision_path, seal_json(decision.model_dump(mode="json")))
    if project.is_offline:
        if not project.is_trial:
            project.progress.say("offline: the decision is on disk; run `bakeoff sync` later to log it")
        return None
    return send_decision(project, decision, files, is_new=is_new)


def send_decision(
    project: Project, decision: Decision, files: Sequence[Path] = (), *, is_new: bool = False
) -> str:
    """Log the decision that is on disk, and mark it as logged; arguments as in ``save_decision``."""
    experiment_id = project.ensure_benchmark_experiment()
    run_id = decisions.log_decision(
        project.tracker, experiment_id, decision, [project.decision_path, *files], is_new=is_new
    )
    mark = SentDecision(decision_digest=_digest_of(decision), store=project.tracker.shown_uri, run_id=run_id)
    durable.write_json(_mark_path(project), mark.model_dump(mode="json"))
    return run_id


def find_unsent_decision(project: Project) -> Decision | None:
    """Return the decision on disk if it is not in the tracking store yet."""
    decision = find_stored(project)
    try:
        mark = SentDecision.model_validate_json(read_regular(_mark_path(project), MAX_RECORD_BYTES))
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


def find_stored(project: Project) -> Decision | None:
    """Return the stored decision; None if there is none, or it cannot be read, which is reported."""
    try:
        return load_decision(project)
    except DataError as error:
        warn(f"the stored decision is not used: {error}")
        return None
    except UserError:
        return None


def load_decision(project: Project) -> Decision:
    """Load the last decision of the project.

    Raises:
        DataError: The file is damaged, or of another version of bakeoff.
        UserError: No decision exists.
    """
    path = project.decision_path
    if not path.is_file():
        raise UserError(f"{path}: no decision was made yet; run `bakeoff decide`")
    try:
        return read_decision(read_regular(path, MAX_RECORD_BYTES), str(path))
    except UnsuitableFileError as error:
        raise DataError(str(path), found=str(error), expected="a file that `bakeoff decide` wrote") from None


def recall_measurements(project: Project, decision: Decision) -> tuple[Measurement, ...]:
    """Load the measurements behind a decision, with their raw values, from this disk.

    A missing or broken one is reported and skipped: the decision itself holds what it concluded from it.
    """
    found = []
    for used in decision.measurements:
        try:
            attempt = project.results.load(used.key, used.attempt)
        except DataError as error:
            warn(f"a measurement is missing from the report: {error}")
            continue
        if isinstance(attempt, Measurement):
            found.append(attempt)
    return tuple(found)

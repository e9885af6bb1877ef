"""Promote: build the served model, register it once, move the alias; each step can be repeated."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from bakeoff.core.decision.decide import Decision
from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import NamedModel
from bakeoff.disk.digest import digest_folder, digest_json, shorten
from bakeoff.disk.folders import build_folder, take_manifest
from bakeoff.errors import UserError
from bakeoff.orchestrator.bench.prepare import prepare_job
from bakeoff.orchestrator.checkpoints import find_checkpoint
from bakeoff.orchestrator.decide import load_decision
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.orchestrator.promote.checks import PromotionEvidence, gather_evidence
from bakeoff.record import Record
from bakeoff.serving import ServedModel, ServingOptions, write_served_model
from bakeoff.stores import tags
from bakeoff.stores.tracking import aliases, packaging, registry
from bakeoff.stores.tracking.aliases import Expected

_NO_VERSION = "none"
_VERSION = re.compile(r"[vV]?([1-9]\d*)")
_MODEL = "model"
# Version of the fields that identify a candidate; a change makes every winner a new version.
_CANDIDATE_FORMAT = 1


class Promotion(Record):
    """Outcome of a promotion or an undo, or of its dry run.

    Attributes:
        version: Version that ``@champion`` names afterwards; None if a dry run would create it.
        previous: Version that ``@champion`` named before; None if it named none, or this one already.
        is_new: Whether the version is new.
        is_dry_run: Whether nothing was done.
        overridden: Faults that ``force`` overrode.
        steps: Steps in order, done or planned.
    """

    model: str
    version: str | None
    previous: str | None
    is_new: bool
    is_dry_run: bool = False
    overridden: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def parse_expected(text: str) -> Expected:
    """Parse the value of ``--expect``: ``v3``, ``3`` or ``none``."""
    if text.casefold() == _NO_VERSION:
        return Expected(version=None)
    match = _VERSION.fullmatch(text)
    if match is None:
        raise UserError(f"--expect: found {text!r:.60}; expected v3, 3 or {_NO_VERSION}")
    return Expected(version=match[1])


def promote(
    project: Project,
    *,
    expect: str | None = None,
    force: str | None = None,
    is_dry_run: bool = False,
) -> Promotion:
    """Register the winner of the last decision as a served model, and point ``@champion`` at it.

    After a crash, the same call continues: a winner has one version, and the alias names it.

    Args:
        project: Project of the decision.
        expect: Version that ``@champion`` must name, unless it names the winner already: ``v3``, ``3`` or
            ``none``.
        force: Reason to override faults of the evidence; kept with the version.
        is_dry_run: Whether to plan the steps only; no request writes.

    Raises:
        AliasMovedError: ``@champion`` does not name the expected version.
        CheckpointError: The checkpoint is not the measured one; ``force`` does not override this.
        NoWinnerError: The decision names no winner.
        PromotionRefusedError: The winner's evidence no longer holds.
        StaleDecisionError: The present measurements and settings would give another decision.
        TrackingError: The store does not answer; repeating the command is safe.
        UserError: The reason is empty, ``expect`` names no version, or no measurement is on this disk.
    """
    expected = None if expect is None else parse_expected(expect)
    if force is not None and not force.strip():
        raise UserError("--force: the reason is empty; give one, which bakeoff keeps with the version")
    decision = load_decision(project)
    evidence = gather_evidence(project, decision)
    if evidence.faults and force is None:
        raise evidence.faults[0]
    overridden = tuple(str(fault) for fault in evidence.faults)
    for fault in overridden:
        warn(f"overridden by --force: {fault}")
    if evidence.winner.quality is None:
        warn(f"{evidence.winner.label}: quality: not measured; it won by speed alone")
    checkpoint = find_checkpoint(evidence.model, project)
    model, identity = project.settings.tracking.registered_model, _identify(evidence)
    versions = registry.find_versions(project.tracker, model, identity)
    found = versions[0] if versions else None
    before = aliases.read_aliases(project.tracker, model)
    if before.champion is None or before.champion != found:
        aliases.require(model, expected, before)
    planned, is_new = _plan(project, found, before), found is None
    if not is_dry_run:
        registry.remove_versions(project.tracker, model, versions[1:])
        found = found or _register(project, decision, evidence, checkpoint, force)
        remark = _describe(decision, evidence, force)
        before = aliases.move_champion(project.tracker, model, found, expected, remark)
    return Promotion(
        model=model,
        version=found,
        previous=before.champion if before.champion != found else None,
        is_new=is_new,
        is_dry_run=is_dry_run,
        overridden=overridden,
        steps=planned,
    )


def undo_promotion(project: Project, *, expect: str | None = None, is_dry_run: bool = False) -> Promotion:
    """Swap ``@champion`` and ``@previous``; a second undo restores them.

    The next undo finishes one that was killed. If an undo got no answer, repeat it with ``expect``: bakeoff
    then refuses it if the first one succeeded, instead of undoing it.

    Raises:
        AliasMovedError: ``@champion`` does not name the expected version.
        NothingToUndoError: One of the aliases names no version.
        TrackingError: The store does not answer; repeating the command is safe.
        UserError: ``expect`` names no version.
    """
    expected = None if expect is None else parse_expected(expect)
    model = project.settings.tracking.registered_model
    act = aliases.plan_undo if is_dry_run else aliases.undo
    after = act(project.tracker, model, expected)
    return Promotion(
        model=model,
        version=after.champion,
        previous=after.previous,
        is_new=False,
        is_dry_run=is_dry_run,
        steps=(
            f"move @champion from version {after.previous} to version {after.champion}",
            f"move @previous from version {after.champion} to version {after.previous}",
        ),
    )


def _identify(evidence: PromotionEvidence) -> str:
    """Digest what is promoted; two decisions with the same winner give the same digest."""
    job = evidence.job
    return digest_json(
        {
            "format": _CANDIDATE_FORMAT,
            "run": job.champion_run_id,
            "runtime": job.runtime.model_dump(mode="json"),
            "checkpoint": job.checkpoint_digest,
            "max_length": job.max_length,
        }
    )


def _describe(decision: Decision, evidence: PromotionEvidence, force: str | None) -> str:
    """Say in one line why the alias moves; a later decision may promote an existing version."""
    text = f"decision {shorten(_digest(decision))}"
    return f"{text}, forced: {' '.join(force.split())}" if evidence.faults and force else text


def _digest(decision: Decision) -> str:
    return digest_json(decision.model_dump(mode="json"))


def _plan(project: Project, found: str | None, before: aliases.Aliases) -> tuple[str, ...]:
    model = project.settings.tracking.registered_model
    experiment = project.settings.tracking.benchmark_experiment
    if found is not None and before.champion == found:
        return (f"nothing: version {found} of {model} is the winner and already @champion",)
    steps = []
    if found is None:
        steps += [
            f"upload a served model to a promotion run in experiment {experiment!r}",
            f"register it as a new version of {model}",
        ]
    if before.champion is not None and before.champion != before.previous:
        steps.append(f"move @previous from {_name(before.previous)} to {_name(before.champion)}")
    target = "the new version" if found is None else _name(found)
    return (*steps, f"move @champion from {_name(before.champion)} to {target}")


def _name(version: str | None) -> str:
    return "no version" if version is None else f"version {version}"


def _register(
    project: Project, decision: Decision, evidence: PromotionEvidence, checkpoint: Path, force: str | None
) -> str:
    winner, model = evidence.winner, project.settings.tracking.registered_model
    folder = _build(project, evidence, checkpoint)
    experiment_id = project.ensure_benchmark_experiment()
    identity = {
        tags.CANDIDATE_DIGEST: _identify(evidence),
        tags.MODEL_DIGEST: digest_folder(folder),
        tags.REGISTERED_MODEL: model,
    }
    described = {
        tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
        tags.DECISION_DIGEST: _digest(decision),
        tags.BENCHMARK_KEYS: "\n".join(winner.benchmark_keys),
        tags.CHECKPOINT_DIGEST: winner.checkpoint_digest,
        tags.BACKBONE: winner.backbone,
        tags.RUNTIME: winner.runtime,
        **_lineage(evidence),
    }
    if evidence.faults and force is not None:
        described[tags.FORCED] = "\n".join([force.strip(), *(f"past: {fault}" for fault in evidence.faults)])
    project.progress.say(f"{winner.label}: uploading the model")
    run_id = registry.upload_model(
        project.tracker,
        experiment_id,
        folder,
        name=f"promotion: {winner.label}",
        identity=identity,
        described=described,
    )
    return registry.ensure_version(project.tracker, model, run_id, identity | described)


def _lineage(evidence: PromotionEvidence) -> dict[str, str]:
    """Return the tags that say where the model comes from: its refit run, or the source that you named."""
    model = evidence.model
    if isinstance(model, NamedModel):
        return {tags.LINEAGE_SOURCE: model.source} | (
            {tags.LINEAGE_LOCATION: model.location} if model.location else {}
        )
    return {tags.LINEAGE_REFIT: evidence.winner.champion_run_id}


def _build(project: Project, evidence: PromotionEvidence, checkpoint: Path) -> Path:
    """Build the model in the cache, so that an interrupted upload continues with the same bytes."""
    job = evidence.job
    planned = PlannedJob(job=job, model=evidence.model, action="reuse", reason="it is promoted", attempt=1)
    prepared = prepare_job(project, planned).prepared
    served = ServedModel(
        runtime=job.runtime,
        task=job.task,
        max_length=job.max_length,
        checkpoint_digest=job.checkpoint_digest,
        prepared_digest=take_manifest(prepared).digest() if prepared else None,
    )
    requirements = packaging.pin_requirements(job.runtime.libraries)
    name = digest_json(
        {
            "candidate": _identify(evidence),
            "served": served.model_dump(mode="json"),
            "requirements": list(requirements),
            "code": packaging.digest_code(),
        }
    )
    final = project.root / ".cache" / "served" / name
    build_folder(
        final,
        functools.partial(
            _fill, served=served, checkpoint=checkpoint, prepared=prepared, requirements=requirements
        ),
    )
    return final / _MODEL


def _fill(
    aside: Path, *, served: ServedModel, checkpoint: Path, prepared: Path | None, requirements: Sequence[str]
) -> None:
    data = aside / "served"
    write_served_model(data, served, checkpoint, prepared)
    packaging.write_model(
        aside / _MODEL,
        data,
        options=ServingOptions(threads=served.runtime.threads),
        requirements=requirements,
        task=served.task,
        metadata={"runtime": served.runtime.label, "checkpoint_digest": served.checkpoint_digest},
    )
    shutil.rmtree(data)

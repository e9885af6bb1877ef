"""Promote: build the model that serves, register it once, move the alias; each step can be repeated."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from bakeoff.core.decision.decide import Decision
from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.disk.digest import digest_folder, digest_json, shorten
from bakeoff.disk.folders import build_folder, take_manifest
from bakeoff.errors import UserError
from bakeoff.orchestrator.bench.prepare import prepare_job
from bakeoff.orchestrator.checkpoints import find_checkpoint
from bakeoff.orchestrator.decide import load_decision
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
# Of what tells two candidates apart; a change makes every winner a new version.
_CANDIDATE_FORMAT = 1


class Promotion(Record):
    """What a promotion or an undo did, or would do.

    Attributes:
        version: That ``@champion`` names then; None for one that would be made.
        previous: That ``@champion`` named before; None if it named none, or this one already.
        is_new: Whether the version was made now, or would be.
        is_dry_run: Whether nothing was done.
        overridden: The faults that ``force`` went past.
        steps: What was done, or would be, in order.
    """

    model: str
    version: str | None
    previous: str | None
    is_new: bool
    is_dry_run: bool = False
    overridden: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def parse_expected(text: str) -> Expected:
    """What ``--expect`` says: ``v3``, ``3`` or ``none``.

    Raises:
        UserError: It says something else.
    """
    if text.casefold() == _NO_VERSION:
        return Expected(version=None)
    match = _VERSION.fullmatch(text)
    if match is None:
        raise UserError(f"--expect {text!r:.60}: found no version; expected v3, 3 or {_NO_VERSION}")
    return Expected(version=match[1])


def promote(
    project: Project,
    *,
    expect: str | None = None,
    force: str | None = None,
    is_dry_run: bool = False,
) -> Promotion:
    """Register the winner of the last decision as a model that serves, and let ``@champion`` name it.

    Whatever kills it, the same call goes on: there is one version of a winner, and the alias names it.

    Args:
        project: Whose decision.
        expect: What ``@champion`` must name, unless it names the winner already: ``v3``, ``3`` or ``none``.
        force: Why faults of the evidence do not count; kept with the version.
        is_dry_run: Say what would be done; no request writes.

    Raises:
        AliasMovedError: ``@champion`` is not what was expected.
        CheckpointError: The checkpoint is not the one that was measured; no reason goes past that.
        NoWinnerError: The decision names none.
        PromotionRefusedError: What the winner rests on does not hold.
        StaleDecisionError: Another decision would be made from what is there now.
        TrackingError: The store does not answer; repeating the command is safe.
        UserError: The reason is empty, ``expect`` names no version, or what was measured is not on this disk.
    """
    expected = None if expect is None else parse_expected(expect)
    if force is not None and not force.strip():
        raise UserError("--force needs a reason: it is kept with the version, for whoever asks later")
    decision = load_decision(project)
    evidence = gather_evidence(project, decision)
    if evidence.faults and force is None:
        raise evidence.faults[0]
    overridden = tuple(str(fault) for fault in evidence.faults)
    for fault in overridden:
        project.progress.say(f"warning: forced past: {fault}")
    checkpoint = find_checkpoint(evidence.champion, project)
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
    """Let ``@champion`` name what ``@previous`` names, and the other way round: twice is as before.

    An undo that was killed is finished by the next one. Whether one that was not answered went through,
    only ``expect`` tells: with it a second call is refused instead of undoing the undo.

    Raises:
        AliasMovedError: ``@champion`` is not what was expected.
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
            f"@champion from version {after.previous} to version {after.champion}",
            f"@previous from version {after.champion} to version {after.previous}",
        ),
    )


def _identify(evidence: PromotionEvidence) -> str:
    """Digest of what is promoted: equal for two decisions that name the same winner."""
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
    """Why the alias moves, in one line: a later decision may promote a version that is there already."""
    text = f"decision {shorten(_digest(decision))}"
    return f"{text}, forced: {' '.join(force.split())}" if evidence.faults and force else text


def _digest(decision: Decision) -> str:
    return digest_json(decision.model_dump(mode="json"))


def _plan(project: Project, found: str | None, before: aliases.Aliases) -> tuple[str, ...]:
    model = project.settings.tracking.registered_model
    experiment = project.settings.tracking.benchmark_experiment
    if found is not None and before.champion == found:
        return (f"nothing: version {found} of {model} is the winner, and @champion",)
    steps = []
    if found is None:
        steps += [
            f"a model that serves, uploaded to a promotion run in experiment {experiment!r}",
            f"a new version of {model} from it",
        ]
    if before.champion is not None and before.champion != before.previous:
        steps.append(f"@previous from {_name(before.previous)} to {_name(before.champion)}")
    target = "the new version" if found is None else _name(found)
    return (*steps, f"@champion from {_name(before.champion)} to {target}")


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
        tags.LINEAGE_REFIT: winner.champion_run_id,
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


def _build(project: Project, evidence: PromotionEvidence, checkpoint: Path) -> Path:
    """The folder of the model, kept in the cache: an interrupted upload goes on with the same bytes."""
    job = evidence.job
    planned = PlannedJob(job=job, model=evidence.champion, action="reuse", reason="it is promoted", attempt=1)
    prepared = prepare_job(project, planned).prepared
    served = ServedModel(
        runtime=job.runtime,
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
        metadata={"runtime": served.runtime.label, "checkpoint_digest": served.checkpoint_digest},
    )
    shutil.rmtree(data)

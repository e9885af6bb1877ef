"""Decide, keep the decision, promote its winner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from bakeoff import durable
from bakeoff.core import decision as deciding
from bakeoff.core.decision import Decision
from bakeoff.core.evidence import assemble_candidates
from bakeoff.digest import digest_json
from bakeoff.errors import CannotTellError, DataError, NoWinnerError, UserError
from bakeoff.orchestrator.champions import require_champions, select_champions
from bakeoff.orchestrator.measurements import build_jobs
from bakeoff.orchestrator.project import Project
from bakeoff.stores import tags
from bakeoff.stores.tracking import benchmarks, registry
from bakeoff.stores.tracking.registry import Promotion


def decide(project: Project) -> Decision:
    """Rank all candidates of the champions that have valid measurements on this hardware.

    Raises:
        CannotTellError: Nothing is measured, or it cannot be compared.
        NoChampionError: No backbone has a champion.
    """
    champions = require_champions(select_champions(project))
    jobs = build_jobs(project, champions)
    found = [project.results.load_valid(job) for job in jobs]
    missing = [job.label for job, measurement in zip(jobs, found, strict=True) if measurement is None]
    candidates, incomplete = assemble_candidates([measurement for measurement in found if measurement])
    if not candidates:
        raise CannotTellError(
            f"no candidate is measured on this hardware; missing: {', '.join(missing)}; run `bakeoff bench`"
        )
    return deciding.decide(candidates, project.settings.decision, incomplete)


def save_decision(project: Project, decision: Decision, files: Sequence[Path] = ()) -> str:
    """Write the decision to disk, then log it with further files; returns the decision run's id.

    Raises:
        TrackingError: The store does not answer; the decision is on disk.
    """
    durable.write_json(project.decision_path, decision.model_dump(mode="json"))
    experiment_id = project.tracker.ensure_experiment(project.settings.tracking.benchmark_experiment)
    return benchmarks.log_decision(project.tracker, experiment_id, decision, [project.decision_path, *files])


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


def promote(project: Project) -> Promotion:
    """Register the winner of the last decision and let the alias ``@champion`` name it.

    Raises:
        NoWinnerError: The decision names none.
        TrackingError: The store does not answer; repeating the command is safe.
    """
    decision = load_decision(project)
    winner = decision.winning_standing
    if winner is None:
        raise NoWinnerError(decision.reasons)
    identity = digest_json(
        {"run": winner.champion_run_id, "runtime": winner.runtime, "checkpoint": winner.checkpoint_digest}
    )
    return registry.promote(
        project.tracker,
        project.settings.tracking.registered_model,
        winner.champion_run_id,
        {
            tags.CANDIDATE_DIGEST: identity,
            tags.DECISION_DIGEST: digest_json(decision.model_dump(mode="json")),
            tags.BENCHMARK_KEYS: "\n".join(winner.benchmark_keys),
            tags.CHECKPOINT_DIGEST: winner.checkpoint_digest,
            tags.BACKBONE: winner.backbone,
            tags.RUNTIME: winner.runtime,
        },
        identity=tags.CANDIDATE_DIGEST,
    )

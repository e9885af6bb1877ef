"""Decision runs: settings, outcome and inputs of each decision."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from bakeoff.core.decision.decide import Decision
from bakeoff.core.decision.standings import Standing
from bakeoff.core.identity import flatten
from bakeoff.disk.digest import digest_json
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking.client import Tracker

_LONGEST_TAG = 4000


def log_decision(
    tracker: Tracker, experiment_id: str, decision: Decision, files: Sequence[Path], *, is_new: bool
) -> str:
    """Write a decision as a run with files; settings become params, the winner's figures metrics.

    Args:
        tracker: Tracking store.
        experiment_id: Id of the benchmark experiment.
        decision: Decision to write.
        files: Files to upload with it.
        is_new: Whether to write a new run; otherwise the newest run of the same decision is adopted.

    Returns:
        The run's id.
    """
    digest = digest_json(decision.model_dump(mode="json"))
    identity = {tags.STAGE: Stage.DECISION, tags.DECISION_DIGEST: digest}
    run_id, is_whole = None, False
    for run in () if is_new else tracker.search_runs(experiment_id, identity):
        run_id, is_whole = str(run.info.run_id), run.info.status == "FINISHED"
    if run_id is None:
        run_id = tracker.create_run(
            experiment_id,
            f"decision: {decision.winner or decision.outcome}",
            identity | _more_tags(decision),
            nonce=uuid.uuid4().hex,
        )
    if not is_whole:
        winner = decision.winning_standing
        tracker.log(
            run_id,
            params=flatten(decision.settings.model_dump(mode="json", exclude={"run"})),
            metrics=_metrics(winner) if winner else {},
        )
    tracker.log_files(run_id, files, "decision")
    tracker.end_run(run_id, "FINISHED")
    return run_id


def _more_tags(decision: Decision) -> dict[str, str]:
    more = {
        tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
        tags.NOTE: "; ".join(decision.reasons)[:_LONGEST_TAG],
        tags.OUTCOME: decision.outcome,
        **({tags.METRIC: decision.metric.name} if decision.metric is not None else {}),
        tags.INPUTS_DIGEST: decision.inputs_digest,
        tags.VERSIONS: "; ".join(f"{name} {version}" for name, version in decision.versions.items()),
    }
    winner = decision.winning_standing
    if winner is None or decision.how is None:
        return more
    return more | {
        tags.HOW: decision.how,
        tags.BACKBONE: winner.backbone,
        tags.RUNTIME: winner.runtime,
        tags.CHECKPOINT_DIGEST: winner.checkpoint_digest,
        # A named model comes from no run: its id is the digest of its content.
        **({} if winner.is_named else {tags.LINEAGE_REFIT: winner.champion_run_id}),
        tags.BENCHMARK_KEYS: "\n".join(winner.benchmark_keys)[:_LONGEST_TAG],
    }


def _metrics(winner: Standing) -> dict[str, float]:
    """Collect each figure, and the ends of its interval if it has one."""
    figures = {"quality": winner.quality, "latency_ms": winner.latency_ms, "score": winner.score}
    if winner.costs:
        figures |= {
            "memory_run_bytes": winner.costs.memory_run_bytes,
            "cost_per_million": winner.costs.cost_per_million,
        }
    ends = {
        f"{name}{end}": value
        for name, figure in figures.items()
        if figure is not None
        for end, value in (("", figure.value), (".low", figure.low), (".high", figure.high))
        if value is not None
    }
    return {"p_best": winner.p_best, **ends}

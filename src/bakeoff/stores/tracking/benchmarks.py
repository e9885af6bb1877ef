"""Benchmark and decision runs."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.core.decision import Decision
from bakeoff.core.plan import ExistingBenchmark, State
from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.digest import digest_json
from bakeoff.measure.readings import ENTITIES, LATENCY, NS_PER_MS
from bakeoff.measure.scenarios.quality import f1_of
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking.client import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run

Attempt = Measurement | FailedAttempt
VALID, FAILED = "valid", "failed"


def find_benchmarks(
    tracker: Tracker, experiment_id: str, champion_run_ids: Collection[str]
) -> list[ExistingBenchmark]:
    """All finished benchmark runs of some champions, in one paged query however many there are."""
    return [
        _read_benchmark(run)
        for run in tracker.search_runs(experiment_id, {tags.STAGE: Stage.BENCHMARK})
        if run.info.status in ("FINISHED", "FAILED")
        and run.data.tags.get(tags.LINEAGE_REFIT) in champion_run_ids
        and tags.BENCHMARK_KEY in run.data.tags
    ]


def log_attempt(
    tracker: Tracker, experiment_id: str, attempt: Attempt, files: Sequence[Path], *, may_exist: bool
) -> str:
    """Write one attempt as one run, once.

    Args:
        tracker: Where to.
        experiment_id: Of the benchmark experiment.
        attempt: What to write.
        files: Uploaded beside.
        may_exist: An earlier process may have begun to log it: look first, and adopt its run.

    Returns:
        The run's id.
    """
    job = attempt.job
    identity = {
        tags.STAGE: Stage.BENCHMARK,
        tags.BENCHMARK_KEY: job.key,
        tags.ATTEMPT: str(attempt.attempt),
        tags.MEASURED_AT: _when(attempt),
    }
    run_id = None
    for run in tracker.search_runs(experiment_id, identity) if may_exist else ():
        if run.info.status != "RUNNING":
            return str(run.info.run_id)
        run_id = run_id or run.info.run_id
    if run_id is None:
        run_id = tracker.create_run(
            experiment_id, job.label, identity | _more_tags(attempt), nonce=uuid.uuid4().hex
        )
    tracker.log(run_id, metrics=_metrics(attempt), params=job.parts)
    tracker.log_files(run_id, files, "benchmark")
    tracker.end_run(run_id, "FINISHED" if isinstance(attempt, Measurement) else "FAILED")
    return run_id


def log_decision(tracker: Tracker, experiment_id: str, decision: Decision, files: Sequence[Path]) -> str:
    """Write a decision as a run, once: the same decision is adopted."""
    digest = digest_json(decision.model_dump(mode="json"))
    identity = {tags.STAGE: Stage.DECISION, tags.DECISION_DIGEST: digest}
    for run in tracker.search_runs(experiment_id, identity):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
    run_id = tracker.create_run(
        experiment_id,
        f"decision: {decision.winner or decision.outcome}",
        identity | {tags.SCHEMA_VERSION: tags.TAG_SCHEMA, tags.NOTE: "; ".join(decision.reasons)},
        nonce=uuid.uuid4().hex,
    )
    tracker.log_files(run_id, files, "decision")
    tracker.end_run(run_id, "FINISHED")
    return run_id


def _read_benchmark(run: Run) -> ExistingBenchmark:
    found = run.data.tags
    validity = found.get(tags.VALIDITY, "")
    if run.info.status == "FAILED":
        state: State = "failed"
    else:
        state = "valid" if validity == VALID else "invalid"
    attempt = found.get(tags.ATTEMPT, "1")
    return ExistingBenchmark(
        key=found[tags.BENCHMARK_KEY],
        champion_run_id=found[tags.LINEAGE_REFIT],
        parts=dict(run.data.params),
        state=state,
        attempt=int(attempt) if attempt.isdecimal() else 1,
        reason=found.get(tags.NOTE, "") if state == "failed" else validity,
        measured_at=found.get(tags.MEASURED_AT, ""),
        run_id=run.info.run_id,
    )


def _when(attempt: Attempt) -> str:
    return attempt.measured_at if isinstance(attempt, Measurement) else attempt.failed_at


def _more_tags(attempt: Attempt) -> dict[str, str]:
    job = attempt.job
    more = {
        tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
        tags.BACKBONE: job.backbone,
        tags.STUDY_KEY_HASH: job.study_key_hash,
        tags.TRIAL_KEY_HASH: job.trial_key_hash,
        tags.DATA_FINGERPRINT: job.data_fingerprint,
        tags.EVAL_FINGERPRINT: job.eval_fingerprint,
        tags.CHECKPOINT_DIGEST: job.checkpoint_digest,
        tags.CONFIG_HASH: job.key.rsplit(":", 1)[-1],
        tags.LINEAGE_TRIAL: job.trial_run_id,
        tags.LINEAGE_REFIT: job.champion_run_id,
        tags.LINEAGE_SWEEP: job.sweep_run_id,
        tags.HARDWARE: job.hardware.label,
        tags.RUNTIME: job.runtime.label,
        tags.SCENARIO: job.scenario.kind,
    }
    if isinstance(attempt, FailedAttempt):
        return more | {tags.VALIDITY: FAILED, tags.NOTE: f"{attempt.reason} {attempt.detail}".strip()[:4000]}
    flags = "; ".join(f"{flag.name}: {flag.detail}" for flag in attempt.flags)
    return more | {tags.VALIDITY: attempt.validity} | ({tags.NOTE: flags[:4000]} if flags else {})


def _metrics(attempt: Attempt) -> Mapping[str, float]:
    if isinstance(attempt, FailedAttempt):
        return {}
    values: dict[str, float] = {"wall_s": attempt.wall_s, "timed_s": attempt.timed_s}
    for reading in attempt.readings:
        if reading.quantity == LATENCY:
            for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                interval = reading.quantile(p)
                if interval is not None:
                    values[f"latency_{name}_ms.batch_{reading.at['batch_size']}"] = interval.value / NS_PER_MS
        elif reading.quantity == ENTITIES:
            values[attempt.job.metric_name] = f1_of(reading)
    return values

"""Benchmark runs in the tracking store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.core.comparison.reference import compare_to_reference
from bakeoff.core.decision.costs import Costs, measure_costs
from bakeoff.core.estimate import Estimate, summarize_calls
from bakeoff.core.job import Job
from bakeoff.core.plan.existing import BenchmarkState, ExistingBenchmark
from bakeoff.core.records import AnyModel, Attempt, Champion, FailedAttempt, Measurement
from bakeoff.disk.digest import digest_json
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import LATENCY, OUTCOMES, PASS
from bakeoff.record import Record
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking.answers import read_run
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.ledger_entries import find_accepted

if TYPE_CHECKING:
    from mlflow.entities import Run

VALID, FAILED, SUPERSEDED = "valid", "failed", "superseded"
MAX_DIGITS = 6
WRITERS = ("bakeoff.", "code.")
NOT_ONE_FIGURE = ("first_call_ms", "warmup_ms", "throughput_batch_size", "served", "is_contended", "absent")


def find_benchmarks(
    tracker: Tracker, experiment_id: str, models: Collection[AnyModel]
) -> list[ExistingBenchmark]:
    """Find all ended benchmark runs of some models, in one paged query.

    MLflow's filters have no "or" for the tags of two writers, so this reads all runs of the experiment:
    benchmarks, decisions and the ledger. If the ledger names a run for a key, only that run counts, even if
    its publisher died before closing it. Other runs that are RUNNING or KILLED are not evidence.
    """
    model_ids = {model.run_id for model in models}
    by_hashes = {
        (model.study_key_hash, model.trial_key_hash): model.run_id
        for model in models
        if isinstance(model, Champion) and model.study_key_hash and model.trial_key_hash
    }
    runs = list(tracker.search_runs(experiment_id, {}))
    accepted = find_accepted(run.data.params for run in runs if run.data.tags.get(tags.STAGE) == Stage.CLAIMS)
    counting = set(accepted.values())
    found = []
    for run in runs:
        if run.info.status not in ("FINISHED", "FAILED") and run.info.run_id not in counting:
            continue
        if key := run.data.tags.get(tags.BENCHMARK_KEY):
            if _model_of(run) in model_ids:
                found.append(_read_benchmark(run, accepted.get(digest_json(key))))
        elif (older := _read_keyless(run, by_hashes)) is not None:
            found.append(older)
    return found


def _model_of(run: Run) -> str:
    """Return the id of the measured model: its refit run, or for a named model the digest of its content."""
    found = run.data.tags
    return str(found.get(tags.LINEAGE_REFIT) or found.get(tags.CHECKPOINT_DIGEST, ""))


def find_stage(tracker: Tracker, run_id: str) -> str | None:
    """Find the stage of a run in its tag; None if the tag is missing.

    Raises:
        TrackingError: The run does not exist, or the store does not answer.
    """
    run = tracker.call("reading a run", functools.partial(read_run, run_id))
    stage: str | None = run.data.tags.get(tags.STAGE)
    return stage


def find_runs_of_key(tracker: Tracker, experiment_id: str, key: str) -> list[str]:
    """Find the ids of the ended runs that measured a job, oldest first."""
    wanted = {tags.STAGE: Stage.BENCHMARK, tags.BENCHMARK_KEY: key}
    return [
        run.info.run_id for run in tracker.search_runs(experiment_id, wanted) if run.info.status == "FINISHED"
    ]


class Logged(Record):
    """Run of a logged attempt.

    Attributes:
        superseded_by: Run that counts for the key instead; None if this one does, or no run does.
    """

    run_id: str
    superseded_by: str | None = None


def log_attempt(
    tracker: Tracker,
    experiment_id: str,
    attempt: Attempt,
    files: Sequence[Path],
    *,
    may_exist: bool,
    publish: Callable[[str], str] = lambda run_id: run_id,
) -> Logged:
    """Write one attempt as one run, once; publish a valid one before closing the run.

    Args:
        tracker: Tracking store.
        experiment_id: Id of the benchmark experiment.
        attempt: Attempt to write.
        files: Files to upload with it.
        may_exist: Whether to look for a run that an earlier process began, and adopt it.
        publish: Receives the run's id; returns the run that counts for the key, this one or a faster one.
    """
    job = attempt.job
    is_valid = isinstance(attempt, Measurement) and attempt.is_valid
    # From the measurement, since another machine may end the same attempt in the same second. Without
    # defaults, so that a later field does not change the nonce of an attempt that waits on disk.
    nonce = digest_json(attempt.model_dump(mode="json", exclude={"readings"}, exclude_defaults=True))
    identity = {tags.STAGE: Stage.BENCHMARK, tags.BENCHMARK_KEY: job.key, tags.NONCE: nonce}
    run = _adopt(tracker, experiment_id, identity) if may_exist else None
    if run is not None and run.info.status != "RUNNING":
        run_id = str(run.info.run_id)
        return _judge(run_id, publish(run_id) if is_valid else run_id)
    if run is None:
        run_id = tracker.create_run(experiment_id, job.label, identity | _more_tags(attempt), nonce=nonce)
    else:
        run_id = str(run.info.run_id)
    tracker.log(run_id, metrics=_metrics(attempt), params=job.parts)
    tracker.log_files(run_id, files, "benchmark")
    logged = _judge(run_id, publish(run_id) if is_valid else run_id)
    if logged.superseded_by is not None:
        why = f"run {logged.superseded_by} was published first"
        tracker.log(run_id, tags={tags.VALIDITY: SUPERSEDED, tags.NOTE: why})
    tracker.end_run(run_id, "FINISHED" if isinstance(attempt, Measurement) else "FAILED")
    return logged


def _judge(run_id: str, counting: str) -> Logged:
    return Logged(run_id=run_id, superseded_by=None if counting == run_id else counting)


def _adopt(tracker: Tracker, experiment_id: str, identity: Mapping[str, str]) -> Run | None:
    """Find the run of an earlier process for an attempt, and close duplicates as KILLED.

    Searches answer oldest first. A closed run is complete, so it is preferred.
    """
    runs = [run for run in tracker.search_runs(experiment_id, identity) if run.info.status != "KILLED"]
    if not runs:
        return None
    adopted = next((run for run in runs if run.info.status != "RUNNING"), runs[0])
    for run in runs:
        if run is not adopted and run.info.status == "RUNNING":
            tracker.end_run(run.info.run_id, "KILLED")
    return adopted


def _read_benchmark(run: Run, accepted: str | None) -> ExistingBenchmark:
    """Read a benchmark run.

    Args:
        run: Run to read.
        accepted: Run that counts for its key in the ledger; None if the ledger does not know the key.
    """
    found = run.data.tags
    validity = found.get(tags.VALIDITY, "")
    reason = validity or "no validity is recorded"
    if run.info.status == "FAILED":
        state: BenchmarkState = "failed"
        reason = found.get(tags.NOTE, "")
    elif validity == SUPERSEDED or (validity == VALID and accepted not in (None, run.info.run_id)):
        state = "superseded"
        reason = f"run {accepted} counts instead" if accepted else found.get(tags.NOTE, "")
    else:
        state = "valid" if validity == VALID else "invalid"
    attempt = found.get(tags.ATTEMPT, "1")
    return ExistingBenchmark(
        key=found[tags.BENCHMARK_KEY],
        champion_run_id=_model_of(run),
        parts=dict(run.data.params),
        state=state,
        attempt=int(attempt) if attempt.isdecimal() and len(attempt) < MAX_DIGITS else 1,
        reason="" if state == "valid" else reason,
        measured_at=found.get(tags.MEASURED_AT, ""),
        run_id=run.info.run_id,
    )


def _read_keyless(run: Run, by_hashes: Mapping[tuple[str, str], str]) -> ExistingBenchmark | None:
    """Read a run of an older writer, which names study and trial but no benchmark key; None for others."""
    found = run.data.tags
    if run.info.status != "FINISHED" or any(f"{prefix}benchmark_key" in found for prefix in WRITERS):
        return None
    for prefix in WRITERS:
        stage = found.get(f"{prefix}stage", Stage.BENCHMARK)
        hashes = found.get(f"{prefix}study_key_hash", ""), found.get(f"{prefix}trial_key_hash", "")
        if hashes in by_hashes and stage == Stage.BENCHMARK:
            ended = datetime.fromtimestamp((run.info.end_time or 0) / 1000, UTC)
            return ExistingBenchmark(
                key=None,
                champion_run_id=by_hashes[hashes],
                parts=dict(run.data.params),
                state="valid" if found.get(f"{prefix}validity", VALID) == VALID else "invalid",
                reason=found.get(f"{prefix}validity", ""),
                measured_at=ended.isoformat(timespec="seconds"),
                run_id=run.info.run_id,
            )
    return None


def _when(attempt: Attempt) -> str:
    return attempt.measured_at if isinstance(attempt, Measurement) else attempt.failed_at


def _more_tags(attempt: Attempt) -> dict[str, str]:
    job = attempt.job
    more = {
        tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
        tags.ATTEMPT: str(attempt.attempt),
        tags.MEASURED_AT: _when(attempt),
        tags.BACKBONE: job.backbone,
        tags.DATA_FINGERPRINT: job.data_fingerprint,
        tags.EVAL_FINGERPRINT: job.eval_fingerprint,
        tags.CHECKPOINT_DIGEST: job.checkpoint_digest,
        tags.CONFIG_HASH: job.key.rsplit(":", 1)[-1],
        tags.HARDWARE: job.hardware.label,
        tags.RUNTIME: job.runtime.label,
        tags.SCENARIO: job.scenario.kind,
        **_lineage(job),
    }
    if isinstance(attempt, FailedAttempt):
        return more | {tags.VALIDITY: FAILED, tags.NOTE: f"{attempt.reason} {attempt.detail}".strip()[:4000]}
    flags = "; ".join(f"{flag.label}: {flag.detail}" for flag in attempt.flags)
    return more | {tags.VALIDITY: attempt.validity} | ({tags.NOTE: flags[:4000]} if flags else {})


def _lineage(job: Job) -> dict[str, str]:
    """Return the tags that say where the model comes from: a sweep, or a source that someone named."""
    if job.source is not None:
        return {tags.LINEAGE_SOURCE: job.source}
    return {
        tags.STUDY_KEY_HASH: job.study_key_hash,
        tags.TRIAL_KEY_HASH: job.trial_key_hash,
        tags.LINEAGE_TRIAL: job.trial_run_id,
        tags.LINEAGE_REFIT: job.champion_run_id,
        tags.LINEAGE_SWEEP: job.sweep_run_id,
    }


def _metrics(attempt: Attempt) -> Mapping[str, float]:
    if isinstance(attempt, FailedAttempt):
        return {}
    values: dict[str, float] = {"wall_s": attempt.wall_s, "timed_s": attempt.timed_s}
    for reading in attempt.readings:
        if reading.quantity == LATENCY:
            for name, found in summarize_calls(reading).items():
                if found is not None:
                    values[f"latency_{name}_ms.batch_{reading.at['batch_size']}"] = found.value
        elif reading.quantity == OUTCOMES:
            outcomes = outcomes_of(reading)
            values |= {name: each.value_of(outcomes) for name, each in attempt.job.task.metrics.items()}
        if reading.quantity in (LATENCY, PASS):
            size = reading.at["batch_size"]
            comparison = compare_to_reference(attempt, size)
            if comparison is not None and comparison.ratio is not None:
                values[f"ratio_to_reference.batch_{size}"] = comparison.ratio.value
    return values | _cost_metrics(measure_costs([attempt]))


def _cost_metrics(costs: Costs) -> dict[str, float]:
    """Collect every cost that has a value, under its own name with the unit; settings are params already."""
    costs_by_name: dict[str, Estimate | float | None] = {
        name: getattr(costs, name) for name in Costs.model_fields if name not in NOT_ONE_FIGURE
    }
    if costs.served is not None:
        costs_by_name |= {
            name: getattr(costs.served, name) for name in ("response_p50_ms", "response_p99_ms")
        }
    values = {
        name: float(value.value if isinstance(value, Estimate) else value)
        for name, value in costs_by_name.items()
        if value is not None
    }
    for name in ("first_call_ms", "warmup_ms"):
        values |= {f"{name}.batch_{size}": value for size, value in getattr(costs, name).items()}
    return values

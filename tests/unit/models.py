"""The models of jobs, for tests that plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bakeoff.core.job import Job, UntimedJob
from bakeoff.core.plan.jobs import AskedJob
from bakeoff.core.records import Champion
from bakeoff.measure.scenarios import Quality


def model_of(job: Job) -> Champion:
    return Champion(
        backbone=job.backbone,
        run_id=job.champion_run_id,
        trial_run_id=job.trial_run_id,
        refit_run_id=job.champion_run_id,
        sweep_run_id=job.sweep_run_id,
        study_key_hash=job.study_key_hash,
        trial_key_hash=job.trial_key_hash,
        metric=0.8,
        metric_name=job.metric_name,
        stable_score=0.8,
        fold_metrics=(),
        schema_version="2.0",
        data_fingerprint=job.data_fingerprint,
        eval_fingerprint=job.eval_fingerprint,
        checkpoint_digest=job.checkpoint_digest,
        experiment_id="1",
        experiment_name="sweep",
    )


def as_quality(job: Job, **changes: Any) -> UntimedJob:
    """The quality job of the same candidate."""
    parts = {name: value for name, value in dict(job).items() if name in UntimedJob.model_fields}
    return UntimedJob(**parts | {"scenario": Quality()} | changes)


def ask(jobs: Iterable[Job]) -> list[AskedJob]:
    return [AskedJob(job, model_of(job)) for job in jobs]

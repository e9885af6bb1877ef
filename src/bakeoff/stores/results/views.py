"""Attempts on disk as others see them: as an existing benchmark, and under a model's present name."""

from __future__ import annotations

from typing import Literal

from bakeoff.core.job import Job
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.record import Record


class LoggedRun(Record):
    """Place of a logged attempt.

    Attributes:
        store: URI of the tracking store, without password.
        experiment_id: Id of the run's experiment.
        run_id: Id of the run.
    """

    format_version: Literal[2] = 2
    store: str
    experiment_id: str
    run_id: str


def summarize(attempt: Measurement | FailedAttempt, logged: LoggedRun | None) -> ExistingBenchmark:
    """Describe an attempt on disk as the plan needs it."""
    if isinstance(attempt, Measurement):
        state, reason, when = (
            "valid" if attempt.is_valid else "invalid",
            "" if attempt.is_valid else attempt.validity,
            attempt.measured_at,
        )
    else:
        state, reason, when = "failed", attempt.reason, attempt.failed_at
    return ExistingBenchmark.model_validate(
        {
            "key": attempt.job.key,
            "champion_run_id": attempt.job.champion_run_id,
            "parts": attempt.job.parts,
            "state": state,
            "attempt": attempt.attempt,
            "reason": reason,
            "measured_at": when,
            "run_id": logged.run_id if logged else None,
            "on_disk": True,
        }
    )


def name_as(measurement: Measurement, job: Job) -> Measurement:
    """Give a measurement of a named model its present name and source, which are no part of the key."""
    measured = measurement.job
    if job.source is None or (measured.backbone, measured.source) == (job.backbone, job.source):
        return measurement
    named, heat = measured.replace(backbone=job.backbone, source=job.source), measurement.heat
    if heat is not None:
        candidates = tuple(
            named.candidate if each == measured.candidate else each for each in heat.candidates
        )
        reference = named.candidate if heat.reference_key == measured.key else heat.reference
        heat = heat.replace(candidates=candidates, reference=reference)
    return measurement.replace(job=named, heat=heat)

"""Validity: what a reader of a measurement must know, each flag with its figure and its limit."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.records import Flag, Job
from bakeoff.measure.entities import ENTITY_F1
from bakeoff.measure.readings import Reading
from bakeoff.measure.scenarios.latency import FIRST_CALL, LATENCY
from bakeoff.measure.scenarios.quality import ENTITIES, Quality, f1_of
from bakeoff.measure.statistics import MIN_GENERATIONS, minimum_samples

MAX_RUN_DELAY_SHARE = 0.02
QUANTILES = (0.5, 0.95, 0.99)


def judge_measurement(
    job: Job, readings: Sequence[Reading], *, n_truncated: int, run_delay_share: float
) -> tuple[Flag, ...]:
    """Find every flag of a measurement.

    Args:
        job: What was to be measured.
        readings: What was read.
        n_truncated: Documents of which words were cut off.
        run_delay_share: The worst share of its wall time in which a process waited for a CPU, in [0, 1].
    """
    flags = []
    if n_truncated:
        flags.append(
            Flag(name="truncated", detail=f"{n_truncated} documents longer than {job.max_length} tokens")
        )
    for reading in readings:
        if reading.quantity == ENTITIES and isinstance(job.scenario, Quality):
            flags += _judge_quality(job, job.scenario, reading)
        elif reading.quantity == LATENCY:
            flags += _judge_latency(reading)
        elif reading.quantity == FIRST_CALL and not all(reading.columns["is_steady"]):
            flags.append(
                Flag(
                    name="warmup_not_steady",
                    detail=f"batch size {reading.at['batch_size']}: still drifting when warm-up was given up",
                )
            )
    if job.protocol is not None:
        if job.protocol.generations < MIN_GENERATIONS:
            detail = f"{job.protocol.generations} fresh processes; intervals are wide below {MIN_GENERATIONS}"
            flags.append(Flag(name="few_generations", detail=detail))
        if run_delay_share > MAX_RUN_DELAY_SHARE:
            detail = f"waited for a CPU {run_delay_share:.1%} of the time (limit {MAX_RUN_DELAY_SHARE:.0%})"
            flags.append(Flag(name="contended", detail=detail))
    return tuple(flags)


def _judge_quality(job: Job, scenario: Quality, reading: Reading) -> list[Flag]:
    measured = f1_of(reading)
    if job.metric_name != ENTITY_F1:
        detail = f"the sweep's {job.metric_name} is another metric than the entity F1 of {measured:.4f} here"
        return [Flag(name="no_refit_metric", detail=detail)]
    if job.refit_metric is None:
        detail = f"the refit logged no test {job.metric_name} to compare {measured:.4f} with"
        return [Flag(name="no_refit_metric", detail=detail)]
    gap = abs(measured - job.refit_metric)
    if gap <= scenario.refit_tolerance:
        return []
    detail = (
        f"{job.metric_name} {measured:.4f} here, {job.refit_metric:.4f} at the refit: "
        f"{gap:.4f} apart (limit {scenario.refit_tolerance:g})"
    )
    return [Flag(name="metric_not_reproduced", detail=detail, invalidates=True)]


def _judge_latency(reading: Reading) -> list[Flag]:
    n = len(reading.values)
    return [
        Flag(
            name=f"unsupported(p{p * 100:g})",
            detail=f"batch size {reading.at['batch_size']}: {n} samples, {minimum_samples(p)} are needed",
        )
        for p in QUANTILES
        if n < minimum_samples(p)
    ]

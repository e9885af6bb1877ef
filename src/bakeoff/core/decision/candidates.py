"""Candidates: champion × runtime with its measurements, and the faults that prevent a ranking."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.costs import Costs, measure_costs
from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag, Measurement
from bakeoff.core.validity.noise import is_contended
from bakeoff.errors import CannotTellError
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import LATENCY, OUTCOMES, REFERENCE, Reading
from bakeoff.measure.tasks import Task, TokenClassification
from bakeoff.measure.tasks.metrics import Metric
from bakeoff.record import Record


class Candidate(Record):
    """Champion × runtime with its measurements.

    Attributes:
        fold_metrics: Metric of each fold of the champion's trial; empty if unknown.
        task: What the model does.
        outcomes: Outcome of each document of the evaluation split.
        latency: Service times by batch size.
        references: Service times of the reference in the same rounds, by batch size; empty for the reference
            itself.
        reference_key: Benchmark key of the reference; empty if it was measured without one.
        heat_id: Id that all candidates of the heat share; empty if it was timed alone.
        latency_key: Benchmark key of its own latency.
        uses_one_thread: Whether it, its reference and all others of its heat are known to use one thread.
        costs: Costs from all its measurements; None if they were not read.
        is_contended: Whether the machine was too busy, so that absolute latencies are upper bounds only.
        is_done: Whether all its measurements count as done.
        benchmark_keys: Benchmark keys of its measurements.
        flags: Flags of its measurements.
    """

    backbone: str
    runtime: str
    champion_run_id: str
    checkpoint_digest: str
    quality_inputs_digest: str
    latency_inputs_digest: str = ""
    fold_metrics: tuple[float, ...] = ()
    task: Task = TokenClassification()
    outcomes: Reading
    latency: Mapping[int, Reading]
    references: Mapping[int, Reading] = {}
    reference_key: str = ""
    heat_id: str = ""
    latency_key: str = ""
    uses_one_thread: bool = False
    costs: Costs | None = None
    is_contended: bool = False
    is_done: bool = True
    environment: Environment
    benchmark_keys: tuple[str, ...]
    flags: tuple[Flag, ...] = ()

    @property
    def label(self) -> str:
        """Name for tables: ``minilm-l6 × onnxruntime-fp32``."""
        return f"{self.backbone} × {self.runtime}"

    @property
    def n_documents(self) -> int:
        """Number of documents that its quality was measured on."""
        return len(self.outcomes.values)

    def count_repeats(self, batch_size: int) -> int:
        """Count the fresh processes in which one batch size was timed."""
        reading = self.latency.get(batch_size)
        return len(set(reading.repeats)) if reading else 0


def assemble_candidates(
    measurements: Sequence[Measurement],
    settings: DecisionSettings,
    fold_metrics: Mapping[str, Sequence[float | None]] | None = None,
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Join the measurements of each champion × runtime.

    Args:
        measurements: Measurements of all scenarios.
        settings: Price, batch size and confidence for the costs.
        fold_metrics: Fold metrics of each champion's trial, by the run of the champion.

    Returns:
        The candidates in the order of the measurements, and a line for each incomplete one.
    """
    names = name_runtimes(measurement.job for measurement in measurements)
    folds = fold_metrics or {}
    grouped: dict[tuple[str, str], dict[str, list[Measurement]]] = {}
    for measurement in measurements:
        job = measurement.job
        group = grouped.setdefault((job.champion_run_id, job.runtime.model_dump_json()), {})
        group.setdefault(job.scenario.kind, []).append(measurement)
    candidates, incomplete = [], []
    for (run_id, runtime), group in grouped.items():
        made = _assemble(group, names[runtime], settings, folds.get(run_id, ()))
        if isinstance(made, str):
            incomplete.append(made)
        else:
            candidates.append(made)
    return tuple(candidates), tuple(incomplete)


def metric_of(candidates: Sequence[Candidate], settings: DecisionSettings) -> Metric:
    """Return the metric that a decision is about.

    Args:
        candidates: Candidates of one task.
        settings: Settings, which may name the metric.

    Raises:
        CannotTellError: The task has no such metric.
    """
    task = candidates[0].task
    try:
        return task.find_metric(settings.metric)
    except KeyError:
        known = ", ".join(task.metrics)
        raise CannotTellError(
            f"decision.metric: found {settings.metric!r}; {task.kind} has {known}"
        ) from None


def name_runtimes(jobs: Iterable[Job]) -> dict[str, str]:
    """Name each runtime of some jobs: its label, plus the fields in which equal labels differ.

    Args:
        jobs: All jobs of the comparison.

    Returns:
        Names by the JSON of the runtime: ``torch-fp32``; of two that differ in threads alone
        ``torch-fp32 (threads 1)`` and ``torch-fp32 (threads 2)``.
    """
    alike: dict[str, dict[str, dict[str, object]]] = {}
    for job in jobs:
        text = job.runtime.model_dump_json()
        alike.setdefault(job.runtime.label, {})[text] = json.loads(text)
    names = {}
    for label, runtimes in alike.items():
        fields = list(dict.fromkeys(name for runtime in runtimes.values() for name in runtime))
        differing = [name for name in fields if len({repr(one.get(name)) for one in runtimes.values()}) > 1]
        for text, runtime in runtimes.items():
            detail = ", ".join(f"{name} {runtime.get(name)}" for name in differing)
            names[text] = f"{label} ({detail})" if detail else label
    return names


def find_fault(candidate: Candidate) -> str | None:
    """Find the reason why a candidate cannot be ranked, or return None.

    A value that is not a number, or a time that is not above 0, would win or lose by accident.
    """
    fault = candidate.task.find_fault(outcomes_of(candidate.outcomes))
    if fault is not None:
        return f"the quality measurement holds {fault}"
    for name, readings in (("latency", candidate.latency), ("the reference's latency", candidate.references)):
        for size, reading in readings.items():
            values = np.asarray(reading.values)
            if not (np.isfinite(values).all() and (values > 0).all()):
                return f"{name} at batch size {size} holds times that are not finite numbers above 0"
    return None


def _assemble(
    group: Mapping[str, Sequence[Measurement]],
    runtime: str,
    settings: DecisionSettings,
    fold_metrics: Sequence[float | None],
) -> Candidate | str:
    qualities, latencies = group.get("quality", ()), group.get("latency", ())
    some = next(each for each in (*qualities, *latencies, *(part for row in group.values() for part in row)))
    name = f"{some.job.backbone} × {runtime}"
    if not qualities or not latencies:
        return f"{name}: no {'latency' if qualities else 'quality'} measurement"
    quality, latency = qualities[0], latencies[0]
    outcomes = quality.reading(OUTCOMES)
    if outcomes is None:
        return f"{name}: the quality measurement holds no outcomes"
    parts = (quality, *latencies, *group.get("throughput", ()), *group.get("server", ()))
    return Candidate(
        backbone=quality.job.backbone,
        runtime=runtime,
        champion_run_id=quality.job.champion_run_id,
        checkpoint_digest=quality.job.checkpoint_digest,
        quality_inputs_digest=quality.job.inputs_digest,
        latency_inputs_digest=latency.job.inputs_digest,
        fold_metrics=tuple(metric for metric in fold_metrics if metric is not None),
        task=quality.job.task,
        outcomes=outcomes,
        latency=_by_batch_size(latencies, LATENCY),
        references=_by_batch_size(latencies, REFERENCE),
        reference_key=latency.heat.reference_key if latency.heat else "",
        heat_id=latency.heat.heat_id if latency.heat else "",
        latency_key=latency.job.key,
        uses_one_thread=all(each.heat is not None and each.heat.uses_one_thread for each in latencies),
        costs=measure_costs(parts, settings),
        is_contended=is_contended(*latencies),
        is_done=all(part.is_valid for part in parts),
        environment=latency.environment,
        benchmark_keys=tuple(part.job.key for part in parts),
        flags=tuple(flag for part in parts for flag in part.flags),
    )


def _by_batch_size(measurements: Sequence[Measurement], quantity: str) -> dict[int, Reading]:
    return {
        reading.at["batch_size"]: reading
        for measurement in measurements
        for reading in measurement.readings
        if reading.quantity == quantity
    }

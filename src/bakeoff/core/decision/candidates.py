"""Candidates: champion × runtime with its measurements, and the faults that prevent a ranking."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bakeoff.core.config.quality_limits import find_misfits
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.costs import Costs, measure_costs
from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag, Measurement
from bakeoff.core.validity.noise import is_contended
from bakeoff.errors import CannotTellError
from bakeoff.measure.scenarios import is_end_to_end
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import LATENCY, OUTCOMES, REFERENCE, Reading
from bakeoff.measure.tasks import Task, TokenClassification
from bakeoff.measure.tasks.metrics import Metric
from bakeoff.record import Record

# Id of the model, and its runtime as JSON.
CandidateId = tuple[str, str]


class Candidate(Record):
    """Champion × runtime with its measurements.

    Attributes:
        fold_metrics: Metric of each fold of the champion's trial; empty if unknown.
        fold_metric_name: Name of that metric; empty if unknown.
        task: What the model does.
        quality_inputs_digest: Digest of the documents that its quality was measured on; empty without.
        outcomes: Outcome of each document of the evaluation split; None if quality was not measured.
        latency: Service times by batch size.
        references: Service times of the reference in the same rounds, by batch size; empty for the reference
            itself.
        reference_key: Benchmark key of the reference; empty if it was measured without one.
        heat_id: Id that all candidates of the heat share; empty if it was timed alone.
        latency_key: Benchmark key of its own latency.
        is_end_to_end: Whether its latency is from a row to a prediction, and not of the model alone.
        uses_one_thread: Whether it, its reference and all others of its heat are known to use one thread.
        costs: Costs from all its measurements; None if they were not read.
        is_contended: Whether the machine was too busy, so that absolute latencies are upper bounds only.
        is_done: Whether all its measurements count as done.
        device: Device that its latency was measured on, ``cpu`` or ``cuda``.
        benchmark_keys: Benchmark keys of its measurements.
        flags: Flags of its measurements.
    """

    backbone: str
    runtime: str
    champion_run_id: str
    checkpoint_digest: str
    quality_inputs_digest: str = ""
    latency_inputs_digest: str = ""
    fold_metrics: tuple[float, ...] = ()
    fold_metric_name: str = ""
    task: Task = TokenClassification()
    outcomes: Reading | None
    latency: Mapping[int, Reading]
    references: Mapping[int, Reading] = {}
    reference_key: str = ""
    heat_id: str = ""
    latency_key: str = ""
    is_end_to_end: bool = False
    uses_one_thread: bool = False
    costs: Costs | None = None
    is_contended: bool = False
    is_done: bool = True
    device: str = "cpu"
    environment: Environment
    benchmark_keys: tuple[str, ...]
    flags: tuple[Flag, ...] = ()

    @property
    def label(self) -> str:
        """Name for tables: ``minilm-l6 × onnxruntime-fp32``."""
        return f"{self.backbone} × {self.runtime}"

    @property
    def n_documents(self) -> int:
        """Number of documents that its quality was measured on; 0 without."""
        return len(self.outcomes.values) if self.outcomes is not None else 0

    def count_repeats(self, batch_size: int) -> int:
        """Count the fresh processes in which one batch size was timed."""
        reading = self.latency.get(batch_size)
        return len(set(reading.repeats)) if reading else 0


def identify_candidate(job: Job) -> CandidateId:
    """Return what all jobs of a candidate share, and no others."""
    return job.champion_run_id, job.runtime.model_dump_json()


def assemble_candidates(
    measurements: Sequence[Measurement],
    settings: DecisionSettings,
    fold_metrics: Mapping[str, Sequence[float | None]] | None = None,
    untimed: Mapping[CandidateId, str] | None = None,
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Join the measurements of each champion × runtime.

    Args:
        measurements: Measurements of all scenarios.
        settings: Price, batch size and confidence for the costs.
        fold_metrics: Fold metrics of each champion's trial, by the run of the champion.
        untimed: Reason for each candidate that was not timed since it cannot win.

    Returns:
        The candidates in the order of the measurements, and a line for each incomplete one.
    """
    names = name_runtimes(measurement.job for measurement in measurements)
    folds = fold_metrics or {}
    grouped: dict[tuple[str, str], dict[str, list[Measurement]]] = {}
    for measurement in measurements:
        job = measurement.job
        group = grouped.setdefault(identify_candidate(job), {})
        group.setdefault(job.scenario.kind, []).append(measurement)
    candidates, incomplete = [], []
    for (run_id, runtime), group in grouped.items():
        why = (untimed or {}).get((run_id, runtime))
        made = _assemble(group, names[runtime], settings, folds.get(run_id, ()), why)
        if isinstance(made, str):
            incomplete.append(made)
        else:
            candidates.append(made)
    return tuple(candidates), tuple(incomplete)


def metric_of(candidates: Sequence[Candidate], settings: DecisionSettings) -> Metric | None:
    """Return the metric that a decision is about; None if the task has none.

    Args:
        candidates: Candidates of one task.
        settings: Settings, which may name the metric.

    Raises:
        CannotTellError: The task has no such metric, or a limit of the settings does not fit it.
    """
    return metric_of_task(candidates[0].task, settings)


def metric_of_task(task: Task, settings: DecisionSettings) -> Metric | None:
    """Return the metric that a decision is about; None if the task has none.

    Raises:
        CannotTellError: The task has no such metric, or a limit of the settings does not fit it.
    """
    faults = find_misfits(settings.metric, settings.objective, settings.constraints, task)
    if faults:
        raise CannotTellError("\n".join(fault.line for fault in faults))
    return task.find_metric(settings.metric) if task.metrics else None


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
    outcomes = candidate.outcomes
    fault = candidate.task.find_fault(outcomes_of(outcomes)) if outcomes is not None else None
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
    why_untimed: str | None = None,
) -> Candidate | str:
    qualities, latencies = group.get("quality", ()), group.get("latency", ())
    some = next(each for each in (*qualities, *latencies, *(part for row in group.values() for part in row)))
    name = f"{some.job.backbone} × {runtime}"
    if settings.objective.needs_quality and not qualities:
        return f"{name}: no quality measurement"
    if not latencies:
        return f"{name}: not timed: {why_untimed}" if why_untimed else f"{name}: no latency measurement"
    latency = latencies[0]
    outcomes = qualities[0].reading(OUTCOMES) if qualities else None
    if qualities and outcomes is None:
        return f"{name}: the quality measurement holds no outcomes"
    parts = (*qualities[:1], *latencies, *group.get("throughput", ()), *group.get("server", ()))
    return Candidate(
        backbone=latency.job.backbone,
        runtime=runtime,
        champion_run_id=latency.job.champion_run_id,
        checkpoint_digest=latency.job.checkpoint_digest,
        quality_inputs_digest=qualities[0].job.inputs_digest if qualities else "",
        latency_inputs_digest=latency.job.inputs_digest,
        fold_metric_name=latency.job.metric_name,
        fold_metrics=tuple(metric for metric in fold_metrics if metric is not None),
        task=latency.job.task,
        outcomes=outcomes,
        latency=_by_batch_size(latencies, LATENCY),
        references=_by_batch_size(latencies, REFERENCE),
        reference_key=latency.heat.reference_key if latency.heat else "",
        heat_id=latency.heat.heat_id if latency.heat else "",
        latency_key=latency.job.key,
        is_end_to_end=is_end_to_end(latency.job.scenario),
        uses_one_thread=all(each.heat is not None and each.heat.uses_one_thread for each in latencies),
        costs=measure_costs(parts, settings),
        is_contended=is_contended(*latencies),
        is_done=all(part.is_valid for part in parts),
        device=getattr(latency.job.runtime, "device", "cpu"),
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

"""Records of the contest: trials, champions, jobs, measurements; all frozen."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from bakeoff.core.job import Environment, Job
from bakeoff.measure.heats.records import Stop, Unmet
from bakeoff.measure.model.session import ModelKind
from bakeoff.measure.statistics.readings import Reading
from bakeoff.record import Record

# How a trial got its metric, as far as the store shows it.
Evaluation = Literal["cross-validation", "single split", "not recorded"]


class Flag(Record):
    """Something that the reader of a measurement must know, with its figure.

    Attributes:
        name: Name in the table ``core.validity.flags.FLAGS``.
        quantity: Figure that the flag is about, such as ``p95``; empty if there can be only one.
        detail: Figure and limit.
        invalidates: Whether the measurement does not count as done.
    """

    name: str
    quantity: str = ""
    detail: str
    invalidates: bool = False

    @property
    def label(self) -> str:
        """Name with its quantity: ``ci_not_reached(p95)``."""
        return f"{self.name}({self.quantity})" if self.quantity else self.name


class Trial(Record):
    """One hyper-parameter setting, as the tracking store records it.

    Attributes:
        metric: Objective as logged; None if it was not. It may be infinite or NaN: selection judges it.
        start_time_ms: Start of the run, ms since the epoch.
        study_key_is_derived: Whether the study key was made of experiment, parent and backbone, since none
            was recorded.
        backbone_is_experiment: Whether the backbone is only the name of the experiment, since the run does
            not name one.
        number: Number of the trial in its study; None if it was not recorded.
        duplicates: Metrics of further runs that logged this trial, by run id.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    run_id: str
    status: str
    backbone: str
    backbone_is_experiment: bool = False
    study_key_hash: str
    study_key_is_derived: bool = False
    trial_key_hash: str
    schema_version: str
    sweep_run_id: str
    experiment_id: str
    experiment_name: str
    start_time_ms: int
    metric: float | None
    metric_name: str
    direction: str | None
    data_fingerprint: str
    eval_fingerprint: str
    fold_metrics: tuple[float, ...] = ()
    evaluation: Evaluation = "not recorded"
    params: Mapping[str, str] = {}
    number: str | None = None
    duplicates: Mapping[str, float | None] = {}


class BestCheckpoint(Record):
    """Best checkpoint of a training, as the training itself recorded it.

    Attributes:
        name: Name of its folder.
        metric: The objective's metric of this checkpoint; None if the training recorded another one.
        is_taken: Whether it is the checkpoint that the refit ships.
    """

    name: str
    metric: float | None
    is_taken: bool


class Refit(Record):
    """A trial's setting trained once more on all training data.

    Attributes:
        checkpoint_artifact: Artifact that is the checkpoint: a folder or an archive.
        missing_location: Path of the artifact location, if it does not exist.
        best_checkpoint: Best checkpoint of the training; None if the training recorded none.
    """

    run_id: str
    status: str
    of_trial_run_id: str
    start_time_ms: int
    artifact_available: bool
    checkpoint_artifact: str = "checkpoint"
    checkpoint_digest: str | None
    test_metric: float | None = None
    missing_location: str | None = None
    best_checkpoint: BestCheckpoint | None = None


class StudyGroup(Record):
    """One study group, as far as selection read it.

    Attributes:
        best_metric: Best metric of the valid trials; None without any, or if it was not read.
        stable_score: Median of the top-K metrics; None for a group that is excluded or cannot win.
        n_trials: Number of finished trials.
        n_duplicates: Number of further runs that logged one of these trials; they do not count.
        left_out: Reason why the group could not win, or None.
        key_is_derived: Whether the study key was made of experiment, parent and backbone, since none was
            recorded.
    """

    study_key_hash: str
    schema_version: str
    best_metric: float | None
    stable_score: float | None
    n_trials: int
    n_valid: int
    n_invalid: int
    n_duplicates: int = 0
    left_out: str | None = None
    key_is_derived: bool = False


class Model(Record):
    """What is measured: a champion of a sweep, or a model that you name.

    Attributes:
        backbone: Name in tables and labels: the backbone of a champion, the name of a named model.
        run_id: Id of the model; part of the benchmark key.
        checkpoint_path: Path of the checkpoint on this machine; None until it is fetched.
        checkpoint_digest: Digest of the checkpoint's content; None until it is known.
    """

    backbone: str
    run_id: str
    checkpoint_path: Path | None = None
    checkpoint_digest: str | None = None


class SourceKind(StrEnum):
    """What the source of a named model holds; ``stores.checkpoints.sources.read_content`` decides it."""

    CHECKPOINT = "checkpoint"  # a folder that save_pretrained wrote
    TRANSFORMERS = "transformers"  # what mlflow.transformers logs
    PROMOTED = "promoted"  # a model that `bakeoff promote` registered
    PYFUNC = "pyfunc"  # any other flavor of MLflow
    ONNX = "onnx"  # a graph
    PYTHON = "python"  # a function that makes the model

    @property
    def loads_as(self) -> ModelKind:
        """What a backend loads; the first three hold a checkpoint."""
        others: dict[SourceKind, ModelKind] = {
            SourceKind.PYFUNC: "pyfunc",
            SourceKind.ONNX: "graph",
            SourceKind.PYTHON: "python",
        }
        return others.get(self, "checkpoint")


class NamedModel(Model):
    """Model that you name in the configuration; no sweep made it.

    Attributes:
        run_id: The content digest, so the same content under another name or path is the same model.
        source: Source as the configuration names it, such as ``models:/ner/3``; for lineage, not identity.
        location: URI of the artifact that the source means, which never changes: ``runs:/RUN/PATH``,
            ``models:/m-ID`` or the artifact's own URI. Empty for a folder of this machine.
        kind: What the source holds.
    """

    source: str
    location: str = ""
    kind: SourceKind = SourceKind.CHECKPOINT
    checkpoint_digest: str

    @property
    def loads_as(self) -> ModelKind:
        """What a backend loads."""
        return self.kind.loads_as


class Champion(Model):
    """Best trial of the best study group of a backbone, with a refit that is certain.

    Attributes:
        run_id: Run of the refit; the same as ``refit_run_id``.
        metric: Objective of the trial, or of the checkpoint that its training recorded as the best one.
        evaluation: How the trial got its metric.
        is_refitted: Whether the checkpoint comes from a refit on all training data. If not, the trial's own
            run holds it.
        flags: What the reader must know about metric and checkpoint.
        refit_metric: Metric that the refit logged for the test split; None if it logged none.
        checkpoint_artifact: Artifact of the run that holds the checkpoint: a folder or a tar archive.
    """

    trial_run_id: str
    refit_run_id: str
    sweep_run_id: str
    study_key_hash: str
    trial_key_hash: str
    metric: float
    metric_name: str
    stable_score: float
    fold_metrics: tuple[float | None, ...]
    evaluation: Evaluation = "not recorded"
    is_refitted: bool = True
    flags: tuple[Flag, ...] = ()
    schema_version: str
    data_fingerprint: str
    eval_fingerprint: str
    refit_metric: float | None = None
    checkpoint_artifact: str = "checkpoint"
    experiment_id: str
    experiment_name: str

    @property
    def loads_as(self) -> ModelKind:
        """What a backend loads: always a checkpoint, never code."""
        return "checkpoint"


# The closed list of what can be measured; the kinds differ in their fields.
AnyModel = Champion | NamedModel
# A model whose kind a function keeps.
SomeModel = TypeVar("SomeModel", Champion, AnyModel)


class PickedTrial(Record):
    """Best trial of the study group that won, among the trials of that group; for readers of a report.

    Attributes:
        metric: Its metric as logged.
        metric_name: Name of the metric.
        folds: Scores of its folds; empty if unknown.
        params: Hyper-parameters as name and value, cut where they are long: those that differ between the
            trials first, then the others, each by name.
        n_varied: Number of these that differ between the trials.
        n_params: Number of all its hyper-parameters.
        scores: Metrics of the group's valid trials in ascending order; of many, those at equal distances in
            the order, with both ends.
        n_scores: Number of all valid trials of the group that were read.
    """

    metric: float
    metric_name: str
    folds: tuple[float, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    n_varied: int = 0
    n_params: int = 0
    scores: tuple[float, ...]
    n_scores: int


class BackboneSelection(Record):
    """Champion of one backbone, or the reason why it has none.

    Attributes:
        picked: Trial that became the champion, or would have with a refit; None if no study group can win.
        all_groups: Study groups that were read, among them every one that could win.
        is_whole: Whether every trial was read. If not, all counts here and in ``selection_metadata`` are
            lower bounds, groups that cannot win may be missing, and unknown values of a group are None.
    """

    backbone: str
    champion: Champion | None
    all_groups: tuple[StudyGroup, ...]
    selection_metadata: Mapping[str, Any]
    picked: PickedTrial | None = None
    reason: str | None = None
    is_whole: bool = True


class HeatFacts(Record):
    """Heat in which a job was measured: candidates in interleaved rounds.

    Attributes:
        heat_id: Id that all candidates of the heat share.
        reference_key: Benchmark key of the candidate that all others are compared to. Measurements of
            different heats with the same reference are comparable by their ratios to it.
        reference: Name of the reference, for tables.
        candidates: Names of all candidates of the heat.
        threads: Threads of each candidate, in the same order; None if a runtime sets no number.
        repeats: Fresh processes of each candidate whose calls count.
        is_resident: Whether all candidates were in memory at once.
        stopped: Reason why no further repeat ran.
        unmet: Intervals of this job that are wider than their target.
        wall_s: Wall time of the whole heat in s.
        calibration_ns: Median time of the calibration loop in each process of the heat, in starting order.
        core_to_core_ns: Core-to-core latency before each round. Empty on one CPU, without a candidate that
            has a thread for every CPU, or if threads cannot be pinned.
    """

    heat_id: str
    reference_key: str
    reference: str
    candidates: tuple[str, ...]
    threads: tuple[int | None, ...] = ()
    repeats: int
    is_resident: bool
    stopped: Stop
    unmet: tuple[Unmet, ...] = ()
    wall_s: float
    calibration_ns: tuple[float, ...] = ()
    core_to_core_ns: tuple[float, ...] = ()

    @property
    def uses_one_thread(self) -> bool:
        """Whether all candidates are known to have used one thread, so that their CPU times are comparable.

        With more threads, waiting ones may spin, and CPU time counts that.
        """
        return bool(self.threads) and set(self.threads) == {1}


class Measurement(Record):
    """Job with its environment, readings and flags.

    Attributes:
        attempt: Number of the attempt, from 1.
        measured_at: Time of the measurement: UTC, ISO 8601.
        heat: Heat that it was measured in; None if it was measured alone.
        runtime_facts: Settings in force, as the runtime itself reported them.
        wall_s: Wall time in s of its worker processes, or of the whole heat if it was measured in one.
        timed_s: Time in s inside its own timed calls.
    """

    format_version: Literal[5] = 5
    job: Job
    attempt: int
    measured_at: str
    environment: Environment
    heat: HeatFacts | None = None
    runtime_facts: Mapping[str, str] = {}
    readings: tuple[Reading, ...]
    flags: tuple[Flag, ...]
    wall_s: float
    timed_s: float

    @property
    def is_valid(self) -> bool:
        """Whether the measurement counts as done."""
        return not any(flag.invalidates for flag in self.flags)

    @property
    def validity(self) -> str:
        """``valid``, or the names of the flags that invalidate it."""
        return "valid" if self.is_valid else ", ".join(flag.name for flag in self.flags if flag.invalidates)

    def has_flag(self, name: str) -> bool:
        """Return whether a flag of this name was raised."""
        return any(flag.name == name for flag in self.flags)

    def reading(self, quantity: str, **at: int) -> Reading | None:
        """Find the reading of a quantity at a place, or return None."""
        for reading in self.readings:
            if reading.quantity == quantity and dict(reading.at) == at:
                return reading
        return None


class FailedAttempt(Record):
    """Job that ended without a measurement; counted, shown and tried again.

    Attributes:
        readings: Readings of the processes that finished before one failed; for inspection, never for a
            decision.
    """

    format_version: Literal[4] = 4
    job: Job
    attempt: int
    failed_at: str
    reason: str
    detail: str
    readings: tuple[Reading, ...] = ()


Attempt = Measurement | FailedAttempt

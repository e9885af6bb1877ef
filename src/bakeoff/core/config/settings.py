"""Settings of every stage: names, bounds and defaults, stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from bakeoff.core.config.data import DataSettings
from bakeoff.core.config.decision_rules import Constraint, Objective, Weighted
from bakeoff.core.config.execution import Execution, LocalExecution
from bakeoff.core.config.models import NamedSource
from bakeoff.core.config.pruners import Pruner
from bakeoff.core.config.quality_limits import find_misfits, find_unfit_scenarios
from bakeoff.core.config.search_space import Distribution, Scalar
from bakeoff.core.run_mode import RunMode
from bakeoff.measure.backends import Backend, OnnxRuntime, Torch
from bakeoff.measure.heats.protocol import TimingProtocol, Until
from bakeoff.measure.scenarios import Latency, Quality, Scenario, Server
from bakeoff.measure.tasks.metrics import Direction
from bakeoff.record import Record
from bakeoff.uris import find_uri_fault


def _check_uri(uri: str) -> str:
    if fault := find_uri_fault(uri):
        raise ValueError(fault)
    return uri


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
Uri = Annotated[str, AfterValidator(_check_uri)]
NOTHING_TO_MEASURE = "nothing_to_measure"  # kind of the error for settings without any model
BUILT_IN_TRAINER = "bakeoff.run.training.hugging_face:HuggingFaceTrainer"


class TrackingSettings(Record):
    """MLflow tracking store, its experiments and the registered model.

    Attributes:
        uri: URI of the MLflow tracking store. A relative SQLite path starts at the project folder.
        artifact_location: Folder, relative to the project folder, or URI such as `s3://bucket/mlflow` for the
            files of new experiments. Null leaves the choice to the server; for a bare database it means
            `mlartifacts` in the project folder. Existing experiments keep their location.
        layout: Layout of the sweep's runs: a built-in name, or a YAML file relative to the project folder.
        sweep_experiment: Experiment of sweep, trial, fold and refit runs. You can list several to read from;
            ``sweep`` writes to one.
        benchmark_experiment: Experiment of benchmark and decision runs, and of the claims by which machines
            share work. Set the same one on every machine that shares it.
        registered_model: Name under which ``promote`` registers the winner; it becomes part of URIs.
        claim_expiry_s: Seconds of silence after which a machine counts as dead and another one takes over its
            claims. Live machines report ten times as often.
    """

    uri: Uri = "sqlite:///mlflow.db"
    artifact_location: Annotated[str, Field(min_length=1)] | None = None
    layout: str = "bakeoff"
    sweep_experiment: str | Annotated[tuple[str, ...], Field(min_length=1)] = "bakeoff-sweep"
    benchmark_experiment: str = "bakeoff-benchmark"
    registered_model: Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=250)] = "bakeoff-model"
    claim_expiry_s: Annotated[float, Field(ge=1, le=86400)] = 300.0

    @property
    def sweep_experiments(self) -> tuple[str, ...]:
        """Names of all sweep experiments, each once."""
        names = self.sweep_experiment
        return (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))


class RunSettings(Record):
    """Run mode of a stage: reuse results that exist, make new ones, or resume.

    Attributes:
        mode: Null takes the mode of the stage before; for the sweep it means ``reuse_if_exists``.
    """

    mode: RunMode | None = None


def _read_run(value: object) -> object:
    """Read ``run: null`` as ``run: {mode: null}``: both inherit."""
    return {} if value is None else value


class BackboneSettings(Record):
    """Pretrained model family.

    Attributes:
        pretrained: Folder that ``save_pretrained`` wrote, relative to the project folder; only ``sweep``
            needs it.
        recorded_as: Name of the backbone in the tracking store, if another program recorded a different one.
        trust_code: Whether the champion may be an MLflow model of any flavor, such as one of scikit-learn,
            which loads pickles or code. Such code can do all that you can do.
    """

    pretrained: str | None = None
    recorded_as: str | None = None
    trust_code: bool = False


class ObjectiveSettings(Record):
    """Metric that the sweep optimises.

    Attributes:
        metric: Name of the metric in the tracking store. The built-in trainer offers those of the task.
        direction: ``maximize`` if more is better, ``minimize`` if less is.
    """

    metric: Annotated[str, Field(min_length=1, max_length=250)] = "f1"
    direction: Direction = "maximize"


class WorkerSettings(Record):
    """Heartbeats, retries and waits of the processes that share a sweep.

    Attributes:
        heartbeat_interval_s: Seconds between two heartbeats of a process that runs a trial.
        heartbeat_grace_s: Seconds without a heartbeat after which a process loses its trial; null means twice
            the interval.
        max_retries: Maximum retries of a trial's parameters after its process died.
        wait_s: Seconds that a worker waits for a sweep to join.
    """

    heartbeat_interval_s: Annotated[int, Field(ge=1, le=3600)] = 60
    heartbeat_grace_s: Annotated[int, Field(ge=1)] | None = None
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    wait_s: Annotated[float, Field(ge=0)] = 300.0

    @property
    def grace_s(self) -> int:
        """Seconds of silence after which a process counts as dead."""
        return self.heartbeat_grace_s or 2 * self.heartbeat_interval_s

    @model_validator(mode="after")
    def _grace_outlasts_a_beat(self) -> Self:
        if self.grace_s <= self.heartbeat_interval_s:
            raise ValueError("set heartbeat_grace_s above heartbeat_interval_s")
        return self


class HpoSettings(Record):
    """Hyper-parameter sweep.

    Attributes:
        run: Run mode for a study that exists.
        backbones: Backbones to fine-tune, by name. You can leave them out if ``models`` names a model.
        trainer: ``package.module:name`` of a class with a ``train`` method.
        objective: Metric to optimise.
        n_trials: Trials per study. A pruned trial counts; a retried trial counts once.
        folds: Folds of the cross-validation that scores a trial.
        search_examples: Number of training documents for the search; null means all. The refit always uses
            all.
        seed: Seed of sampler, folds and training.
        search_space: Hyper-parameters to search, by name; only ``sweep`` needs them.
        training: Fixed hyper-parameters; the trainer gets them together with the searched ones.
        refit: Hyper-parameters that only the refit changes.
        pruner: Rule that stops bad trials early, by the epochs of their first fold; null finishes all trials.
        storage: Optuna storage. A relative SQLite path starts at the project folder. Workers on several
            machines need a database server.
        workers: Heartbeats, retries and waits of the processes that share a sweep.
        environment: Names of environment variables that the training process gets besides those that
            libraries need, such as ``WANDB_API_KEY``. It is not part of the study key.
    """

    run: RunSettings = RunSettings()
    backbones: Mapping[Name, BackboneSettings] = {}
    trainer: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = BUILT_IN_TRAINER
    objective: ObjectiveSettings = ObjectiveSettings()
    n_trials: Annotated[int, Field(ge=1, le=100_000)] = 20
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    search_examples: Annotated[int, Field(ge=2)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    search_space: Mapping[str, Distribution] = {}
    training: Mapping[str, Scalar] = {}
    refit: Mapping[str, Scalar] = {}
    pruner: Pruner | None = None
    storage: Uri = "sqlite:///optuna.db"
    workers: WorkerSettings = WorkerSettings()
    environment: tuple[VariableName, ...] = ()

    _null_run = field_validator("run", mode="before", json_schema_input_type=RunSettings | None)(_read_run)

    @model_validator(mode="after")
    def _recorded_once(self) -> Self:
        recorded = [row.recorded_as or name for name, row in self.backbones.items()]
        twice = sorted({name for name in recorded if recorded.count(name) > 1})
        if twice:
            names = ", ".join(twice)
            raise ValueError(f"several backbones are recorded as {names}; set a different recorded_as")
        return self

    @model_validator(mode="after")
    def _searched_is_not_fixed(self) -> Self:
        both = sorted(set(self.search_space) & (set(self.training) | set(self.refit)))
        if both:
            raise ValueError(f"both searched and fixed: {', '.join(both)}; keep one of the two")
        return self


class SelectionSettings(Record):
    """Rules that pick the champions.

    Attributes:
        min_trials_per_group: Minimum number of valid trials in a study group; smaller groups are excluded.
        top_k_for_stable_score: Number of best trials whose median is the stable score. At most
            ``min_trials_per_group`` count, so that every group in the contest has enough.
        require_artifact_available: Whether the refit must hold a checkpoint.
        artifact_check_source: ``tag`` trusts the refit's tag; ``store`` lists the artifacts.
        allow_mixed_schema_groups: Whether groups of older schema versions compete with newer ones.
    """

    min_trials_per_group: Annotated[int, Field(ge=1)] = 3
    top_k_for_stable_score: Annotated[int, Field(ge=1)] = 3
    require_artifact_available: bool = True
    artifact_check_source: Literal["tag", "store"] = "tag"
    allow_mixed_schema_groups: bool = False

    @property
    def top_k(self) -> int:
        """Number of best trials that make the stable score, at most ``min_trials_per_group``."""
        return min(self.top_k_for_stable_score, self.min_trials_per_group)


class BenchmarkSettings(Record):
    """Runtimes and scenarios to measure, the protocol, and the limits of a worker.

    Attributes:
        run: Run mode for measurements that exist; null takes the sweep's mode.
        runtimes: Runtimes to measure each champion in. The first one is the reference of the decision.
        scenarios: Scenarios to measure for each champion in each runtime.
        protocol: Protocol of the timed scenarios.
        until: What ends the measurement: ``decided`` drops candidates that cannot win and stops when the
            decision is known; ``intervals`` measures all candidates until their intervals are as narrow as
            ``protocol.targets``. Null is ``decided`` for `run` and `try`, and ``intervals`` for `bench`. What
            was measured by ``intervals`` also serves ``decided``. On a cluster it is always ``intervals``.
        cpus: Numbers of the CPUs that measured processes may use; null means all that bakeoff may use. Their
            count is part of the benchmark key, as part of the hardware.
        n_texts: Number of test documents for a timed scenario, drawn with the protocol's seed.
        execution: Machine or cluster that measures.
        timeout_s: Time limit of one worker process in seconds. A server scenario gets the time of its search
            as well. Null is 1800 s for what is timed; for preparation and quality, 900 s, 1800 s for each GiB
            of weights, and for each document of quality 0.02 s and 5 s a GiB.
        memory_limit_bytes: Memory that one worker process may allocate; a job that needs more fails alone.
            Null sets no limit for what is timed; for preparation and quality of a checkpoint or graph on the
            CPU, 8 GiB and 24 times the size of its weights.
        environment: Names of environment variables that worker processes get besides those that runtimes
            need, such as ``NLTK_DATA``. It is not part of the benchmark key.
        max_attempts: Number of failed or invalid attempts after which bakeoff skips a job.
        accept_contended: Whether a measurement counts as done although other work disturbed most of its
            rounds. It has a flag in either case, and only its ratios are ranked.
    """

    run: RunSettings = RunSettings()
    runtimes: Annotated[tuple[Backend, ...], Field(min_length=1)] = (Torch(), OnnxRuntime())
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)] = (Quality(), Latency())
    protocol: TimingProtocol = TimingProtocol()
    until: Until | None = None
    cpus: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    n_texts: Annotated[int, Field(ge=1)] = 256
    execution: Execution = LocalExecution()
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    memory_limit_bytes: Annotated[int, Field(ge=1 << 26)] | None = None
    environment: tuple[VariableName, ...] = ()
    max_attempts: Annotated[int, Field(ge=1)] = 3
    accept_contended: bool = False

    _null_run = field_validator("run", mode="before", json_schema_input_type=RunSettings | None)(_read_run)

    @field_validator("scenarios")
    @classmethod
    def _servers_can_meet_their_limit(cls, scenarios: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
        """Check settings alone: old measurements with too few queries stay readable."""
        too_few = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "too_few_queries",
                    "too few n_queries for the quantile {quantile}; set at least {least}, "
                    "so that one response of a trial may be late",
                    {"quantile": scenario.quantile, "least": scenario.least_queries},
                ),
                loc=(number, "n_queries"),
                input=scenario.n_queries,
            )
            for number, scenario in enumerate(scenarios)
            if isinstance(scenario, Server) and scenario.n_queries < scenario.least_queries
        ]
        if too_few:
            raise ValidationError.from_exception_data("scenarios", too_few)
        return scenarios

    @model_validator(mode="after")
    def _no_twins(self) -> Self:
        for name, entries in (("runtimes", self.runtimes), ("scenarios", self.scenarios)):
            if len({entry.model_dump_json() for entry in entries}) < len(entries):
                raise ValueError(f"duplicate entry in {name}; remove one of the two")
        if self.cpus is not None and len(set(self.cpus)) < len(self.cpus):
            raise ValueError("duplicate CPU in cpus; remove one of the two")
        return self


class DecisionSettings(Record):
    """Objective and constraints that decide between the candidates.

    Attributes:
        run: Run mode for a decision that exists; null takes the benchmark's mode.
        objective: Rule that ranks the candidates.
        metric: Metric of quality, one of the task's; null takes the task's first.
        batch_size: Batch size of the latency that counts.
        quantile: Quantile of the latency that counts.
        constraints: Limits that a winner must meet.
        price_per_hour: Price of one instance per hour, in any currency; null shows no prices.
        confidence: Confidence of all intervals. A clear winner needs an interval that lies on one side.
        when_tied: ``report`` names the tie and no winner; ``fastest`` lets the fastest of the tied win.
        resamples: Resamples of the bootstrap over documents.
        seed: Seed of the bootstrap.
        allow_unlike_environments: Whether to rank measurements from different hardware, devices or library
            versions.
    """

    run: RunSettings = RunSettings()
    objective: Objective = Weighted()
    metric: Annotated[str, Field(min_length=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 1
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    constraints: tuple[Constraint, ...] = ()
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    when_tied: Literal["report", "fastest"] = "report"
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    allow_unlike_environments: bool = False

    _null_run = field_validator("run", mode="before", json_schema_input_type=RunSettings | None)(_read_run)

    @model_validator(mode="after")
    def _costs_have_a_price(self) -> Self:
        if self.objective.kind == "cost" and not self.price_per_hour:
            raise ValueError("the objective cost needs a price; set price_per_hour above 0")
        return self


class Settings(Record):
    """Settings of all stages.

    Attributes:
        models: Models to measure without a sweep, by name. They may stand next to champions of a sweep.
    """

    tracking: TrackingSettings = TrackingSettings()
    data: DataSettings = DataSettings()
    hpo: HpoSettings = HpoSettings()
    models: Mapping[Name, NamedSource] = {}
    selection: SelectionSettings = SelectionSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    decision: DecisionSettings = DecisionSettings()

    @model_validator(mode="after")
    def _decision_and_scenarios_fit_the_task(self) -> Self:
        decision, task = self.decision, self.data.task
        misfits = [
            InitErrorDetails(
                type=PydanticCustomError("misfit", "{fix}", {"fix": each.fix}),
                loc=each.place,
                input=each.found,
            )
            for each in (
                *find_unfit_scenarios(self.benchmark.scenarios, task),
                *find_misfits(decision.metric, decision.objective, decision.constraints, task),
            )
        ]
        if misfits:
            raise ValidationError.from_exception_data("settings", misfits)
        return self

    @model_validator(mode="after")
    def _something_is_measured(self) -> Self:
        both = [name for name in self.models if name in self.hpo.backbones]
        faults = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "named_twice", "hpo.backbones has the same name; rename one of the two"
                ),
                loc=("models", name),
                input=name,
            )
            for name in both
        ]
        if not self.models and not self.hpo.backbones:
            message = (
                "found neither hpo.backbones nor models; add hpo.backbones to measure the champions of a "
                "sweep, or models to measure models that you name"
            )
            faults = [
                InitErrorDetails(type=PydanticCustomError(NOTHING_TO_MEASURE, message), loc=(), input={})
            ]
        if faults:
            raise ValidationError.from_exception_data("settings", faults)
        return self

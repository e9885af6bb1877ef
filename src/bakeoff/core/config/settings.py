"""The settings of every stage: each named, bounded and given its default here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from bakeoff.core.config.decision_rules import Constraint, Objective, Weighted
from bakeoff.core.config.execution import Execution, LocalExecution
from bakeoff.core.config.pruners import Pruner
from bakeoff.core.records import Direction
from bakeoff.core.run_mode import RunMode
from bakeoff.measure.backends import Backend, OnnxRuntime, Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency, Quality, Scenario, Server
from bakeoff.measure.tasks.token_classification import ENTITY_F1
from bakeoff.record import Record

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Scalar = bool | int | float | str
BUILT_IN_TRAINER = "bakeoff.run.training.hugging_face:HuggingFaceTrainer"


class TrackingSettings(Record):
    """Where runs are kept.

    Attributes:
        uri: Of the MLflow tracking store; a relative SQLite path is taken from the project folder.
        artifact_location: Where experiments that are made from here keep their files: a folder, relative to
            the project folder, or a URI such as `s3://bucket/mlflow`. Null leaves it to a server; for a bare
            database it is `mlartifacts` in the project folder. An experiment that is there keeps its own.
        layout: How the sweep's runs are read: a built-in name, or a YAML file relative to the project folder.
        sweep_experiment: Of sweep, trial, fold and refit runs; several may be read together, one is written.
        benchmark_experiment: Of benchmark and decision runs, and of the ledger in which machines agree who
            measures what and who leads a sweep; the same for all who share the work.
        registered_model: Under this name ``promote`` registers the winner; it becomes a part of URIs.
        claim_expiry_s: A machine that measures, or leads a sweep, and gives no sign of life for so long is
            taken for dead, and another one goes on with what it had claimed. It gives a sign ten times as
            often.
    """

    uri: str = "sqlite:///mlflow.db"
    artifact_location: Annotated[str, Field(min_length=1)] | None = None
    layout: str = "bakeoff"
    sweep_experiment: str | Annotated[tuple[str, ...], Field(min_length=1)] = "bakeoff-sweep"
    benchmark_experiment: str = "bakeoff-benchmark"
    registered_model: Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=250)] = "bakeoff-model"
    claim_expiry_s: Annotated[float, Field(ge=1, le=86400)] = 300.0

    @property
    def sweep_experiments(self) -> tuple[str, ...]:
        """Their names, also where there is only one; each once."""
        names = self.sweep_experiment
        return (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))


class DataSettings(Record):
    """Labelled documents, one JSON object a line.

    Attributes:
        train: File for search and refit; only ``sweep`` needs it.
        test: File that is kept for the quality of champions; every stage that trains or measures needs it.
        tokens_field: Field with the list of words.
        tags_field: Field with one BIO tag a word.
        max_length: Tokens after which a document is cut, in training and measuring alike.
    """

    train: str | None = None
    test: str | None = None
    tokens_field: str = "tokens"
    tags_field: str = "ner_tags"
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128


class RunSettings(Record):
    """What to do about results that exist.

    Attributes:
        mode: Null inherits that of the stage before; of the sweep it means ``reuse_if_exists``.
    """

    mode: RunMode | None = None


def _read_run(value: object) -> object:
    """``run: null`` inherits, as ``run: {mode: null}`` does."""
    return {} if value is None else value


class BackboneSettings(Record):
    """A pretrained model family.

    Attributes:
        pretrained: A folder that ``save_pretrained`` wrote, relative to the project folder; only ``sweep``
            needs it.
        recorded_as: Its name in the tracking store where another program wrote another one there.
    """

    pretrained: str | None = None
    recorded_as: str | None = None


class ObjectiveSettings(Record):
    """What the sweep optimises.

    Attributes:
        metric: Its name in the tracking store. The built-in trainer offers ``f1``, at the level of entities.
        direction: Which of two values is the better one.
    """

    metric: Annotated[str, Field(min_length=1, max_length=250)] = ENTITY_F1
    direction: Direction = "maximize"


class FloatRange(Record):
    """A float hyper-parameter between two bounds.

    Attributes:
        low: Least value.
        high: Greatest value.
        log: Whether it is searched on the log scale.
    """

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False


class IntRange(Record):
    """A whole-number hyper-parameter between two bounds, both included.

    Attributes:
        low: Least value.
        high: Greatest value.
        log: Whether it is searched on the log scale.
    """

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False


class Choice(Record):
    """A hyper-parameter out of a list.

    Attributes:
        choices: The list.
    """

    kind: Literal["choice"]
    choices: Annotated[tuple[Scalar, ...], Field(min_length=1)]


Distribution = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class WorkerSettings(Record):
    """How the processes that share a sweep keep an eye on each other.

    Attributes:
        heartbeat_interval_s: So often the process that runs a trial says that it lives.
        heartbeat_grace_s: After so long a silence its trial is taken from it; null means twice the interval.
        max_retries: So often the parameters of a trial whose process died are tried again.
        wait_s: A worker waits so long for a sweep to join.
    """

    heartbeat_interval_s: Annotated[int, Field(ge=1, le=3600)] = 60
    heartbeat_grace_s: Annotated[int, Field(ge=1)] | None = None
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    wait_s: Annotated[float, Field(ge=0)] = 300.0

    @property
    def grace_s(self) -> int:
        """The silence after which a process is taken for dead."""
        return self.heartbeat_grace_s or 2 * self.heartbeat_interval_s

    @model_validator(mode="after")
    def _grace_outlasts_a_beat(self) -> Self:
        if self.grace_s <= self.heartbeat_interval_s:
            raise ValueError("heartbeat_grace_s must be longer than heartbeat_interval_s")
        return self


class HpoSettings(Record):
    """The sweep.

    Attributes:
        run: What to do about a study that exists.
        backbones: By name.
        trainer: ``package.module:name`` of a class with a ``train`` method.
        objective: What is optimised.
        n_trials: Trials a study shall have; a pruned one counts, one that is tried again counts once.
        folds: Of the cross-validation that scores a trial.
        search_examples: How many of the training documents the search uses; null means all. The refit always
            uses all.
        seed: Of sampler, folds and trainings.
        search_space: What is searched; only ``sweep`` needs it.
        training: Fixed hyper-parameters, handed to the trainer beside the searched ones.
        refit: Hyper-parameters that only the refit changes.
        pruner: Gives up bad trials early, by the epochs of their first fold; null finishes them all.
        storage: Optuna's storage; a relative SQLite path is taken from the project folder. Workers on several
            machines need a database server.
        workers: How the processes that share a sweep keep an eye on each other.
    """

    run: RunSettings = RunSettings()
    backbones: Annotated[dict[Name, BackboneSettings], Field(min_length=1)]
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
    storage: str = "sqlite:///optuna.db"
    workers: WorkerSettings = WorkerSettings()

    _null_run = field_validator("run", mode="before", json_schema_input_type=RunSettings | None)(_read_run)

    @model_validator(mode="after")
    def _recorded_once(self) -> Self:
        recorded = [row.recorded_as or name for name, row in self.backbones.items()]
        twice = sorted({name for name in recorded if recorded.count(name) > 1})
        if twice:
            raise ValueError(f"two backbones are recorded as {', '.join(twice)}; trials belong to one")
        return self

    @model_validator(mode="after")
    def _searched_is_not_fixed(self) -> Self:
        both = sorted(set(self.search_space) & (set(self.training) | set(self.refit)))
        if both:
            raise ValueError(f"{', '.join(both)} is searched and fixed at the same time; keep one of the two")
        return self


class SelectionSettings(Record):
    """How champions are picked.

    Attributes:
        min_trials_per_group: Valid trials below which a study group is out.
        top_k_for_stable_score: The stable score is the median of so many best trials; never more than
            ``min_trials_per_group``, so that every group in the contest can fill it.
        require_artifact_available: Whether the refit must hold a checkpoint.
        artifact_check_source: ``tag`` believes the refit's tag, ``store`` lists the artifacts.
        allow_mixed_schema_groups: Whether groups of older schema versions compete with newer ones.
    """

    min_trials_per_group: Annotated[int, Field(ge=1)] = 3
    top_k_for_stable_score: Annotated[int, Field(ge=1)] = 3
    require_artifact_available: bool = True
    artifact_check_source: Literal["tag", "store"] = "tag"
    allow_mixed_schema_groups: bool = False

    @property
    def top_k(self) -> int:
        """K of the stable score, clamped."""
        return min(self.top_k_for_stable_score, self.min_trials_per_group)


class BenchmarkSettings(Record):
    """What is measured, and how.

    Attributes:
        run: Null inherits the sweep's mode.
        runtimes: How each champion is executed. The first one is the reference of the decision.
        scenarios: What is measured of each champion in each runtime.
        protocol: How timed scenarios are measured.
        cpus: Numbers of the CPUs on which the processes that are measured may run; null means all that this
            process may use. Their count is part of the key, by the hardware.
        n_texts: Of the test documents, how many a timed scenario feeds, drawn with the protocol's seed.
        execution: Where jobs are measured.
        timeout_s: Of one worker process; that of a server scenario has the time of its search beside.
        memory_limit_bytes: That one worker process may allocate; beyond it that job alone fails. Null leaves
            it to the system.
        max_attempts: After so many failed or invalid attempts a job is left alone.
        accept_contended: Whether a measurement counts as done although most of its rounds were disturbed by
            other work; it is flagged, and only ratios are ranked, in either case.
    """

    run: RunSettings = RunSettings()
    runtimes: Annotated[tuple[Backend, ...], Field(min_length=1)] = (Torch(), OnnxRuntime())
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)] = (Quality(), Latency())
    protocol: TimingProtocol = TimingProtocol()
    cpus: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    n_texts: Annotated[int, Field(ge=1)] = 256
    execution: Execution = LocalExecution()
    timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    memory_limit_bytes: Annotated[int, Field(ge=1 << 26)] | None = None
    max_attempts: Annotated[int, Field(ge=1)] = 3
    accept_contended: bool = False

    _null_run = field_validator("run", mode="before", json_schema_input_type=RunSettings | None)(_read_run)

    @field_validator("scenarios")
    @classmethod
    def _servers_can_meet_their_limit(cls, scenarios: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
        """Asked of settings alone: what was once measured with too few queries can still be read."""
        too_few = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "too_few_queries",
                    "too few n_queries for the quantile {quantile}: it must be {least} at least, "
                    "so that one answer of a trial may be late",
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
                raise ValueError(f"an entry of {name} stands twice")
        if self.cpus is not None and len(set(self.cpus)) < len(self.cpus):
            raise ValueError("a CPU stands twice in cpus")
        return self


class DecisionSettings(Record):
    """How accuracy is weighed against cost.

    Attributes:
        run: Null inherits the benchmark's mode.
        objective: By what the best is told.
        batch_size: At which latency counts.
        quantile: Of the latency that counts.
        constraints: What a winner must meet.
        price_per_hour: Of one instance, in any currency; null leaves costs without a price.
        confidence: Of all intervals; a clear winner needs one that lies on one side.
        when_tied: ``report`` names the tie and no winner; ``fastest`` lets the fastest of the tied win.
        resamples: Of the bootstrap over documents.
        seed: Of the bootstrap.
        allow_unlike_environments: Rank measurements of unlike hardware or library versions all the same.
    """

    run: RunSettings = RunSettings()
    objective: Objective = Weighted()
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
            raise ValueError("the objective cost needs price_per_hour, above 0")
        return self


class Settings(Record):
    """All stages."""

    tracking: TrackingSettings = TrackingSettings()
    data: DataSettings = DataSettings()
    hpo: HpoSettings
    selection: SelectionSettings = SelectionSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    decision: DecisionSettings = DecisionSettings()

"""Jobs: model × runtime × scenario × inputs × hardware, with the benchmark key as identity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, TypeAdapter, model_serializer

from bakeoff.core.identity import KEY_VERSION, BenchmarkKey, build_benchmark_key, flatten
from bakeoff.disk.digest import digest_json
from bakeoff.measure.backends import Backend
from bakeoff.measure.heats.protocol import DECIDED, INTERVALS, TimingProtocol, Until
from bakeoff.measure.scenarios import Interleaved, Scenario, Timed, Untimed
from bakeoff.measure.tasks import Task, TokenClassification
from bakeoff.record import Record


class Hardware(Record):
    """Parts of the machine that decide the numbers; part of the benchmark key."""

    machine: str
    cpu_model: str
    physical_cores: int
    usable_cpus: int
    accelerators: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name for tables and tags."""
        return " + ".join([f"{self.cpu_model} ({self.usable_cpus} CPUs)", *self.accelerators])


class Environment(Record):
    """State of the machine during a measurement; recorded, not part of the key.

    Attributes:
        libraries: Versions by distribution name, including Python.
        facts: Kernel, governor, virtualisation and other readings of the system, as text.
    """

    hardware: Hardware
    libraries: Mapping[str, str]
    facts: Mapping[str, str] = {}

    @property
    def digest(self) -> str:
        """Digest that is equal if measurements may be ranked against each other."""
        return digest_json(
            {"hardware": self.hardware.model_dump(mode="json"), "libraries": dict(self.libraries)}
        )


class BaseJob(Record):
    """Model × runtime × scenario × inputs × hardware: the unit of measurement, with its identity.

    Attributes:
        task: What the model does; its ``identity`` is part of the identity.
        inputs_digest: Digest of exactly the documents that the model is fed.
        max_length: Tokens at which a document is cut.
        champion_run_id: Id of the model: the refit run of a champion, the content digest of a named model.
        trial_run_id: Trial of a champion; empty for a named model, as are sweep and hashes.
        refit_metric: Score that the refit logged, to be reproduced; not part of the identity.
        source: Source of a named model, for lineage; None for a champion. Not part of the identity.
    """

    backbone: str
    champion_run_id: str
    trial_run_id: str = ""
    sweep_run_id: str = ""
    study_key_hash: str = ""
    trial_key_hash: str = ""
    checkpoint_digest: str
    data_fingerprint: str
    eval_fingerprint: str
    runtime: Backend
    scenario: Scenario
    task: Task = TokenClassification()
    hardware: Hardware
    inputs_digest: str
    max_length: int
    metric_name: str
    refit_metric: float | None = None
    source: str | None = None

    @model_serializer(mode="wrap")
    def _leave_out_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write a job as before named models and races, since stored formats are kept."""
        values: dict[str, Any] = write(self)
        if values.get("source", "") is None:
            del values["source"]
        if values.get("until") == INTERVALS:
            del values["until"]
        return values

    def __copy__(self) -> Self:
        """Copy without the cached key: the copy may be about to change."""
        copied = super().__copy__()
        copied.__dict__.pop("key", None)
        return copied

    @property
    def label(self) -> str:
        """Name for tables and logs: ``minilm-l6 × onnxruntime-fp32 × latency``."""
        return f"{self.candidate} × {self.scenario.kind}"

    @property
    def candidate(self) -> str:
        """Model × runtime, which could be shipped."""
        return f"{self.backbone} × {self.runtime.label}"

    @property
    def protocol_settings(self) -> dict[str, Any] | None:
        """Settings of the timing protocol; None for a job that is not timed."""
        return None

    @property
    def benchmark_config(self) -> dict[str, Any]:
        """Everything that decides the numbers, apart from model, data and evaluation."""
        return {
            "key_version": KEY_VERSION,
            "runtime": self.runtime.model_dump(mode="json"),
            "scenario": self.scenario.model_dump(mode="json"),
            "task": self.task.identity,
            "protocol": self.protocol_settings,
            "inputs_digest": self.inputs_digest,
            "max_length": self.max_length,
            "checkpoint_digest": self.checkpoint_digest,
            "hardware": self.hardware.model_dump(mode="json"),
        }

    @cached_property
    def key(self) -> BenchmarkKey:
        """The benchmark key."""
        return build_benchmark_key(
            self.champion_run_id, self.data_fingerprint, self.eval_fingerprint, self.benchmark_config
        )

    @property
    def key_digest(self) -> str:
        """The key as a name for files."""
        return self.key.digest

    @property
    def parts(self) -> dict[str, str]:
        """Parts of the identity by name, to show differences."""
        return {
            "data_fingerprint": self.data_fingerprint,
            "eval_fingerprint": self.eval_fingerprint,
            **flatten(self.benchmark_config),
        }


class UntimedJob(BaseJob):
    """A job in which nothing is timed; no timing setting changes its key."""

    scenario: Untimed


class TimedJob(BaseJob):
    """A job that is timed.

    Attributes:
        protocol: How it is timed; part of the identity.
        until: What ends its heat: the targets of all intervals, or the decision; part of the identity. A race
            to the decision may stop before a candidate that cannot win has narrow intervals.
    """

    scenario: Annotated[Timed, Field(discriminator="kind")]
    protocol: TimingProtocol
    until: Until = INTERVALS

    @property
    def protocol_settings(self) -> dict[str, Any]:
        """Settings of the timing protocol."""
        settings = self.protocol.model_dump(mode="json")
        return settings if self.until == INTERVALS else settings | {"until": self.until}


Job = TimedJob | UntimedJob


def race(job: Job) -> Job:
    """Return a job as a race to the decision asks for it; what is measured alone is the same in both."""
    is_together = isinstance(job, TimedJob) and isinstance(job.scenario, Interleaved)
    return job.replace(until=DECIDED) if is_together else job


def in_full(job: Job) -> Job:
    """Return a job as measured until its intervals meet their targets, which serves every request."""
    return job.replace(until=INTERVALS) if is_race(job) else job


def is_race(job: Job) -> bool:
    """Return whether a job may end as soon as the decision is known."""
    return isinstance(job, TimedJob) and job.until == DECIDED


JOB: TypeAdapter[Job] = TypeAdapter(Job)

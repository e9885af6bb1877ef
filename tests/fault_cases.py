"""Writes of every store, to be cut short: what is laid out before, the write, the reader, the next writer.

Each uses the store's own functions, as the stages do. ``kill_everywhere`` kills a write before each of its
calls, ``cut_power_everywhere`` lets the power fail; both then ask the reader, and let the next writer go on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Self

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Champion, Measurement
from bakeoff.disk.digest import digest_folder
from bakeoff.measure.statistics.readings import LATENCY, MEMORY, Reading
from bakeoff.orchestrator import Project, open_project, save_decision, sweep
from bakeoff.orchestrator.bench.upload import sync
from bakeoff.orchestrator.decide import load_decision
from bakeoff.orchestrator.sweep import lead
from bakeoff.run.training.trainer import TrainingOrder, TrainingOutcome
from bakeoff.stores import tags
from bakeoff.stores.checkpoints import CheckpointStore
from bakeoff.stores.results.store import ResultStore
from bakeoff.stores.results.views import LoggedRun
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking import aliases, registry
from kills import FSYNC, in_fork, kill_before, list_calls
from power_cuts import list_states, record, write_state
from unit.conftest import _job as make_job
from unit.conftest import _write_checkpoint as make_checkpoint
from unit.core.field import make_candidate, rule

MODEL = "served"
RUN_ID = "a" * 32


@dataclass(frozen=True)
class View:
    """What a reader finds.

    Attributes:
        items: What is there, each named with its content.
        n_doubled: How often something counts that counts already.
    """

    items: frozenset[object]
    n_doubled: int = 0


@dataclass(frozen=True)
class Tally:
    """What became of writes that were cut short.

    Attributes:
        n_points: Points at which they were.
        n_torn: Points after which a reader failed, or found neither the old nor the new state; or the old one
            after the write had returned.
        n_lost: Points after which something was missing in the end, or the next writer failed.
        n_doubled: Things that counted twice.
        stories: What happened at points where something went wrong.
    """

    n_points: int = 0
    n_torn: int = 0
    n_lost: int = 0
    n_doubled: int = 0
    stories: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __str__(self) -> str:
        """All counts in one line."""
        return f"{self.n_points} points, {self.n_lost} lost, {self.n_doubled} doubled, {self.n_torn} torn"

    @property
    def holds(self) -> bool:
        """Whether nothing went wrong."""
        return self.n_torn == self.n_lost == self.n_doubled == 0


class Case:
    """A write of one store, in a folder that it shares with nothing.

    Attributes:
        store: Store that it writes to.
        name: What it writes.
        needs_forks: Whether it opens a database, which no other process may inherit.
    """

    store: ClassVar[str]
    name: ClassVar[str]
    needs_forks: ClassVar[bool] = False

    def lay_out(self, folder: Path) -> None:
        """Make the state before."""

    def act(self, folder: Path) -> None:
        """Write."""
        raise NotImplementedError

    def look(self, folder: Path) -> View:
        """Read as the product does."""
        raise NotImplementedError

    def go_on(self, folder: Path) -> None:
        """Write again, as the next command does."""
        self.act(folder)

    def is_whole(self, seen: View, old: View, new: View) -> bool:
        """Whether a reader may find this right after the cut."""
        return seen in (old, new)

    def is_complete(self, seen: View, final: View, new: View) -> bool:
        """Whether all is there in the end, with all that a reader had found before."""
        return final == new


# --- results ----------------------------------------------------------------------------------------------


def make_measurement(job: Job, attempt: int = 1) -> Measurement:
    values = tuple(1e6 + 1000.0 * number + attempt for number in range(40))
    readings = (
        Reading(quantity=LATENCY, unit="ns", at={"batch_size": 1}, values=values, repeats=(0,) * 40,
                columns={"round": tuple(range(40))}),
        Reading(quantity=MEMORY, unit="bytes", values=(), repeats=()),
    )  # fmt: skip
    return Measurement(
        job=job,
        attempt=attempt,
        measured_at=f"2026-01-0{attempt}T00:00:00+00:00",
        environment=Environment(hardware=job.hardware, libraries={"python": "3.12.1"}),
        readings=readings,
        flags=(),
        wall_s=1.0,
        timed_s=0.5,
    )


JOB, OTHER_JOB = make_job(), make_job(checkpoint_digest="9" * 64)
FIRST, SECOND, OTHER = make_measurement(JOB), make_measurement(JOB, 2), make_measurement(OTHER_JOB)
LOGGED = LoggedRun(store="sqlite:///x", experiment_id="1", run_id="f" * 32)


def digest_values(attempt: Measurement) -> str:
    return hashlib.sha256(attempt.model_dump_json().encode()).hexdigest()


class ResultsCase(Case):
    """Attempts in a result store; its reader must find nothing damaged, unless the case made it so."""

    store = "results"
    n_damaged: ClassVar[int] = 0

    def open(self, folder: Path, lines: list[str] | None = None) -> ResultStore:
        said: list[str] = [] if lines is None else lines
        return ResultStore(folder / "results", said.append)

    def lay_out(self, folder: Path) -> None:
        self.open(folder).store(FIRST)
        self.open(folder).store(OTHER)

    def look(self, folder: Path) -> View:
        lines: list[str] = []
        store = self.open(folder, lines)
        items: list[object] = []
        for attempt in store.list_attempts():
            loaded = store.load(attempt.job.key, attempt.attempt)
            assert isinstance(loaded, Measurement)
            mark = store.find_logged(attempt.job.key, attempt.attempt)
            items.append((digest_values(loaded), mark.run_id if mark else None))
        assert len(lines) <= self.n_damaged, lines
        valid = store.load_valid(JOB)
        return View(frozenset([*items, ("valid", valid.attempt if valid else None)]))


class StoreAttempt(ResultsCase):
    name = "a forced attempt"

    def act(self, folder: Path) -> None:
        self.open(folder).store(SECOND, is_forced=True)


class MarkAttempt(ResultsCase):
    name = "the mark of a logged attempt"

    def act(self, folder: Path) -> None:
        self.open(folder).mark_logged(FIRST, LOGGED)


class SetAttemptAside(ResultsCase):
    name = "an attempt that is set aside"

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        self.open(folder).mark_logged(FIRST, LOGGED)

    def act(self, folder: Path) -> None:
        self.open(folder).set_aside(FIRST)


class AdoptAttempt(ResultsCase):
    name = "an attempt of another machine"

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        ResultStore(folder / "fetched").store(SECOND)

    def act(self, folder: Path) -> None:
        fetched = folder / "fetched" / "jobs" / JOB.key_digest
        self.open(folder).adopt(JOB, 2, fetched, LOGGED)

    def is_whole(self, seen: View, old: View, new: View) -> bool:
        # An attempt whose mark is missing is only asked for again.
        return seen in (old, new) or {str(each) for each in old.items - seen.items} == {"('valid', 1)"}


class SetDamagedAside(ResultsCase):
    name = "a damaged attempt that is set aside"
    n_damaged = 1

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        path = self.open(folder).store(SECOND)
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))

    def act(self, folder: Path) -> None:
        self.open(folder).set_damaged_aside()

    def look(self, folder: Path) -> View:
        kept = [
            *(folder / "results").glob("jobs/*/002.json"),
            *(folder / "results").glob("damaged/*/002-*.json"),
        ]
        return View(super().look(folder).items | {("kept", len(kept))})


# --- checkpoints ------------------------------------------------------------------------------------------

CHAMPION = Champion(
    backbone="minilm-l6", run_id=RUN_ID, trial_run_id="7" * 32, refit_run_id=RUN_ID, sweep_run_id="5" * 32,
    study_key_hash="1" * 64, trial_key_hash="2" * 64, metric=0.9, metric_name="f1", stable_score=0.9,
    fold_metrics=(), schema_version="2.0", data_fingerprint="d" * 64, eval_fingerprint="e" * 64,
    experiment_id="1", experiment_name="sweep",
)  # fmt: skip


class FetchCheckpoint(Case):
    store = "checkpoints"
    name = "a checkpoint that is fetched"

    def lay_out(self, folder: Path) -> None:
        make_checkpoint(folder / "artifacts" / "checkpoint")

    def open(self, folder: Path) -> CheckpointStore:
        return CheckpointStore(folder / "cache")

    def act(self, folder: Path) -> None:
        def download(_: str, artifact: str, destination: Path) -> Path:
            return Path(shutil.copytree(folder / "artifacts" / artifact, destination / artifact))

        self.open(folder).acquire(CHAMPION, download)

    def look(self, folder: Path) -> View:
        place = self.open(folder).find_local(CHAMPION)
        assert place is None or self.open(folder).find_digest(CHAMPION) == digest_folder(place)
        return View(frozenset() if place is None else frozenset({digest_folder(place)}))


class ReplaceCheckpoint(FetchCheckpoint):
    name = "a changed copy that is fetched again"

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        self.act(folder)
        place = self.open(folder).find_local(CHAMPION)
        assert place is not None
        (place / "tokenizer.json").write_text('{"changed": true}', encoding="utf-8")


class LookAtFolder(FetchCheckpoint):
    name = "the look at a folder of the user"

    def act(self, folder: Path) -> None:
        given = CHAMPION.replace(checkpoint_path=folder / "artifacts" / "checkpoint")
        self.open(folder).acquire(given, _refuse)

    def look(self, folder: Path) -> View:
        place = folder / "artifacts" / "checkpoint"
        digest = self.open(folder).find_digest(CHAMPION.replace(checkpoint_path=place))
        assert digest == digest_folder(place)
        return View(frozenset({digest}))


def _refuse(*_: object) -> Path:
    raise AssertionError("nothing is to be fetched")


# --- projects ---------------------------------------------------------------------------------------------

CONFIG = """
tracking: {{uri: "sqlite:///mlflow.db", sweep_experiment: sweep, benchmark_experiment: benchmark}}
data: {{train: train.jsonl, test: test.jsonl, max_length: 32}}
hpo:
  backbones: {{tiny: {{pretrained: pretrained}}}}
  trainer: "kills:unused"
  n_trials: 2
  folds: 2
  search_space: {{rate: {{kind: float, low: 0.001, high: 0.02}}}}
  workers: {{heartbeat_interval_s: 1, heartbeat_grace_s: 2}}
{more}
"""
DECISIONS = tuple(rule([make_candidate("good", 0.9), make_candidate(other, 0.5)]) for other in ("one", "two"))


class ProjectCase(Case):
    """A write of a project. Its databases are opened in forks alone."""

    def open(self, folder: Path, *, is_offline: bool = False) -> Project:
        return open_project(folder / "bakeoff.yaml", is_offline=is_offline)

    def lay_out(self, folder: Path) -> None:
        (folder / "bakeoff.yaml").write_text(CONFIG.format(more=""), encoding="utf-8")
        lines = files("bakeoff.demo").joinpath("data", "train.jsonl").read_text(encoding="utf-8").splitlines()
        for name in ("train", "test"):
            (folder / f"{name}.jsonl").write_text("\n".join(lines[:6]) + "\n", encoding="utf-8")
        make_checkpoint(folder / "pretrained")


class SaveDecision(ProjectCase):
    store = "decision"
    name = "a decision that replaces another one"

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        save_decision(self.open(folder, is_offline=True), DECISIONS[0])

    def act(self, folder: Path) -> None:
        save_decision(self.open(folder, is_offline=True), DECISIONS[1])

    def look(self, folder: Path) -> View:
        return View(frozenset({load_decision(self.open(folder, is_offline=True)).model_dump_json()}))


class SendWaiting(ProjectCase):
    """Two attempts and a decision that wait on disk; each is logged, published and marked."""

    store = "outbox"
    name = "results that wait for the tracking store"
    needs_forks = True

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        offline = self.open(folder, is_offline=True)
        offline.results.store(FIRST)
        offline.results.store(OTHER)
        save_decision(offline, DECISIONS[0])
        self.open(folder).ensure_benchmark_experiment()

    def act(self, folder: Path) -> None:
        assert not sync(self.open(folder)).waiting

    def look(self, folder: Path) -> View:
        project = self.open(folder)
        experiment_id = project.ensure_benchmark_experiment()
        counted = Counter[object]()
        for stage, name in ((Stage.BENCHMARK, tags.BENCHMARK_KEY), (Stage.DECISION, tags.DECISION_DIGEST)):
            for run in project.tracker.search_runs(experiment_id, {tags.STAGE: stage}):
                if run.info.status == "FINISHED":
                    counted[(stage.value, run.data.tags[name])] += 1
                    assert project.tracker.list_artifacts(run.info.run_id, stage.value)
        items = [("on disk", digest_values(each)) for each in _load_all(project.results)]
        return View(frozenset([*counted, *items]), sum(counted.values()) - len(counted))

    def is_whole(self, seen: View, old: View, new: View) -> bool:
        return old.items <= seen.items <= new.items


def _load_all(store: ResultStore) -> list[Measurement]:
    found = [store.load(each.job.key, each.attempt) for each in store.list_attempts()]
    return [each for each in found if isinstance(each, Measurement)]


class PromoteVersion(ProjectCase):
    """A model that is uploaded, registered and named as the champion, where another one is the champion."""

    store = "promotion"
    name = "a version that becomes the champion"
    needs_forks = True

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        for number in (1, 2):
            make_checkpoint(folder / f"model-{number}", {"classifier.weight": bytes([number]) * 1024})
        self._promote(folder, 1)

    def act(self, folder: Path) -> None:
        self._promote(folder, 2)

    def look(self, folder: Path) -> View:
        tracker = self.open(folder).tracker
        items: list[object] = []
        n_doubled = 0
        places = aliases.read_aliases(tracker, MODEL)
        for number in (1, 2):
            versions = registry.find_versions(tracker, MODEL, f"{number}" * 64)
            n_doubled += max(0, len(versions) - 1)
            for version in versions:
                row = tracker.call("reading", partial(_find_version, version))
                with self.open(folder).results.receiving() as place:
                    fetched = tracker.download(str(row.run_id), tags.MODEL_ARTIFACT, place)
                    assert digest_folder(fetched) == digest_folder(folder / f"model-{number}")
                items.append(("version", number))
                items += [("alias", name, number) for name, at in vars(places).items() if at == version]
        return View(frozenset(items), n_doubled)

    def is_whole(self, seen: View, old: View, new: View) -> bool:
        champions = [
            each for each in seen.items if isinstance(each, tuple) and each[:2] == ("alias", "champion")
        ]
        return len(champions) == 1 and ("version", 1) in seen.items

    def _promote(self, folder: Path, number: int) -> None:
        project = self.open(folder)
        identity = {
            tags.CANDIDATE_DIGEST: f"{number}" * 64,
            tags.MODEL_DIGEST: digest_folder(folder / f"model-{number}"),
            tags.REGISTERED_MODEL: MODEL,
        }
        run_id = registry.upload_model(
            project.tracker,
            project.ensure_benchmark_experiment(),
            folder / f"model-{number}",
            name=f"promotion {number}",
            identity=identity,
            described={tags.RUNTIME: "torch-fp32"},
        )
        version = registry.ensure_version(project.tracker, MODEL, run_id, identity)
        aliases.move_champion(project.tracker, MODEL, version, None, "a test")


def _find_version(version: str, client: MlflowClient) -> ModelVersion:
    return client.get_model_version(MODEL, version)


class _Trainings:
    """Trainings in this process: a result of the parameters, and a checkpoint that a function writes."""

    def __init__(self, write: Callable[[Path, float], object]) -> None:
        self._write = write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def load(self, trainer: str) -> bool:
        return False

    def train(self, trainer: str, order: TrainingOrder) -> TrainingOutcome:
        rate = float(order.hyper_parameters["rate"])
        if order.checkpoint is not None:
            self._write(order.checkpoint, rate)
        return TrainingOutcome(metrics={"f1": 0.5 + rate})


def train_here(write: Callable[[Path, float], object]) -> None:
    """Let sweeps of this process train in it, and start no other process; for forks.

    Args:
        write: Writes the checkpoint of a training; gets its folder, which is not there yet, and the rate.
    """
    lead.open_training_process = lambda _: _Trainings(write)  # type: ignore[attr-defined, assignment, return-value]


def _write_of_rate(folder: Path, rate: float) -> None:
    make_checkpoint(folder, {"classifier.weight": repr(rate).encode().ljust(1024)})


class Sweep(ProjectCase):
    """A whole sweep of two trials and a refit, in two databases; only the training is a stand-in."""

    store = "sweep"
    name = "trials, folds and a refit"
    needs_forks = True

    def act(self, folder: Path) -> None:
        train_here(_write_of_rate)
        (result,) = sweep(self.open(folder))
        assert result.failure is None

    def lay_out(self, folder: Path) -> None:
        super().lay_out(folder)
        self.open(folder).tracker.ensure_experiment("sweep")

    def look(self, folder: Path) -> View:
        project = self.open(folder)
        (experiment_id,) = [project.tracker.ensure_experiment("sweep")]
        counted = Counter[object]()
        for run in project.tracker.search_runs(experiment_id, {}):
            stage = run.data.tags.get(tags.STAGE)
            if run.info.status == "RUNNING" and stage != Stage.FOLD:  # a fold of its own counts for nothing
                counted[("open", run.info.run_id)] += 1
            if run.info.status != "FINISHED":
                continue
            if stage == Stage.TRIAL:
                counted[("trial", run.data.params["rate"], run.data.metrics["f1"])] += 1
            if stage == Stage.REFIT:
                with project.results.receiving() as place:
                    fetched = project.tracker.download(run.info.run_id, "checkpoint", place)
                    assert digest_folder(fetched) == run.data.tags[tags.CHECKPOINT_DIGEST]
                counted[("refit", run.data.tags[tags.REFIT_OF_TRIAL])] += 1
            if stage == Stage.SWEEP:
                counted["sweep"] += 1
        return View(frozenset(counted), sum(counted.values()) - len(counted))

    def is_whole(self, seen: View, old: View, new: View) -> bool:
        return True  # ``look`` has read every finished run; the draws of a trial that died may be others

    def is_complete(self, seen: View, final: View, new: View) -> bool:
        before = {each for each in seen.items if isinstance(each, tuple) and each[0] != "open"}
        kinds = Counter(each if isinstance(each, str) else each[0] for each in final.items)  # type: ignore[index]
        return before <= final.items and kinds == {"trial": 2, "refit": 1, "sweep": 1}


ON_DISK: Sequence[Case] = (
    StoreAttempt(), MarkAttempt(), SetAttemptAside(), AdoptAttempt(), SetDamagedAside(), FetchCheckpoint(),
    ReplaceCheckpoint(), LookAtFolder(), SaveDecision(),
)  # fmt: skip
IN_STORES: Sequence[Case] = (SendWaiting(), PromoteVersion(), Sweep())


# --- cuts -------------------------------------------------------------------------------------------------


@dataclass
class _Stage:
    """A case in a folder at one path, since stores write down where their files are."""

    case: Case
    folder: Path
    old: View = field(init=False)
    new: View = field(init=False)
    calls: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.work, self.template = self.folder / "work", self.folder / "template"
        self.work.mkdir(parents=True)
        in_fork(lambda: self.case.lay_out(self.work))
        self.old = in_fork(lambda: self.case.look(self.work))
        shutil.copytree(self.work, self.template)
        self.calls = list_calls(lambda: self.case.act(self.work))
        self.new = in_fork(lambda: self.case.look(self.work))

    def restore(self) -> None:
        shutil.rmtree(self.work)
        shutil.copytree(self.template, self.work)

    def judge(self, where: str, *, is_over: bool = False) -> Tally:
        """Let the reader look, the next writer go on, and the reader look again.

        Args:
            where: Point of the cut.
            is_over: Whether the write had returned: then its result must be there.
        """
        seen, final, story = in_fork(lambda: _look_and_go_on(self.case, self.work))
        is_whole = seen is not None and (
            seen == self.new if is_over else self.case.is_whole(seen, self.old, self.new)
        )
        is_complete = seen is not None and final is not None and self.case.is_complete(seen, final, self.new)
        n_doubled = final.n_doubled if final is not None else 0
        tale = f"{self.case.name}, {where}: found {seen}, then {final}; {story}"
        return Tally(
            n_points=1,
            n_torn=not is_whole,
            n_lost=not is_complete,
            n_doubled=n_doubled,
            stories=() if is_whole and is_complete and not n_doubled else (tale,),
        )


def _look_and_go_on(case: Case, folder: Path) -> tuple[View | None, View | None, str]:
    seen = final = None
    try:
        seen = case.look(folder)
        case.go_on(folder)
        final = case.look(folder)
    except BaseException:  # noqa: BLE001 - the tale of the point
        return seen, final, traceback.format_exc()
    return seen, final, ""


def kill_everywhere(case: Case, folder: Path, *, every: int = 1) -> Tally:
    """Kill a write before each of its calls, and in the middle of each file that it syncs.

    Args:
        case: The write.
        folder: New folder.
        every: Only each so many-th point.
    """
    stage = _Stage(case, folder)
    points = [(number, False) for number in range(len(stage.calls))]
    points += [(number, True) for number, name in enumerate(stage.calls) if name == FSYNC]
    total = Tally()
    for number, is_half in sorted(points)[::every]:
        stage.restore()
        if kill_before(number, lambda: case.act(stage.work), is_half=is_half):
            total += stage.judge(
                f"killed {'in' if is_half else 'before'} call {number}, {stage.calls[number]}"
            )
    return total


def kill_twice(case: Case, folder: Path, *, every: int = 5) -> Tally:
    """Kill a write before each of its calls, and the next writer, too.

    Args:
        case: The write.
        folder: New folder.
        every: The next writer is killed before each so many-th of its calls.
    """
    stage = _Stage(case, folder)
    total = Tally()
    for first in range(len(stage.calls)):
        for second in range(first % every, 2 * len(stage.calls), every):
            stage.restore()
            kill_before(first, lambda: case.act(stage.work))
            if not kill_before(second, lambda: case.go_on(stage.work)):
                break
            total += stage.judge(f"killed before call {first}, then before call {second}")
    return total


def cut_power_everywhere(case: Case, folder: Path, most_at_a_point: int = 6, *, every: int = 1) -> Tally:
    """Let the power fail after each call of a write, in each state in which the disk may be then.

    Args:
        case: The write, which opens no database.
        folder: New folder.
        most_at_a_point: Most states for each point.
        every: Only each so many-th state.
    """
    stage = _Stage(case, folder)
    stage.restore()
    history = record(stage.work, lambda: case.act(stage.work))
    total = Tally()
    states = list_states(history, most_at_a_point)
    for number, (state, is_over) in enumerate([*states[::every], states[-1]]):
        shutil.rmtree(stage.work)
        write_state(state, stage.work)
        total += stage.judge(f"power cut, state {number}: {_describe(state)}", is_over=is_over)
    return total


def _describe(state: Mapping[str, bytes | None]) -> str:
    return json.dumps({name: None if data is None else len(data) for name, data in state.items()})

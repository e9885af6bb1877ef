"""Commands before a server whose requests go wrong, one by one: nothing lost, nothing measured twice.

``spoil_everywhere`` lets a command meet each kind of fault at each of its requests, once or from then on. It
then lets the same command run without faults, and compares what is there with what an undisturbed command
leaves. Models and trainings are stand-ins; the server, the requests, the measuring processes and the commands
are real.
"""

from __future__ import annotations

import itertools
import math
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mlflow.entities import Run

from bakeoff.disk.digest import digest_folder
from bakeoff.errors import BakeoffError
from bakeoff.measure.heats import run as heat_run
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    open_project,
    plan,
    promote,
    save_decision,
    sweep,
    sync,
)
from bakeoff.run.machine import processes
from bakeoff.run.machine.lock import LOCK_VARIABLE
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking import client as client_module
from bakeoff.stores.tracking import create_client, packaging
from fault_cases import Tally, View, train_here
from kills import in_fork
from proxy import FAULTS, Fault, Proxy, proxy_before
from services import mlflow_server
from unit.conftest import _write_checkpoint as make_checkpoint

# Two jobs, each a heat of its own of one process.
N_JOBS = 2
CONFIG = """
tracking:
  uri: {uri}
  sweep_experiment: sweep
  # Signs of life are requests, too: a slow bench shall not make more of them than a quick one.
  claim_expiry_s: 86400
data: {{train: train.jsonl, test: test.jsonl, max_length: 32}}
hpo:
  backbones: {{tiny: {{pretrained: pretrained}}}}
  trainer: "lossy:unused"
  n_trials: 3
  folds: 2
  search_space: {{rate: {{kind: float, low: 0.001, high: 0.02}}}}
benchmark:
  accept_contended: true
  runtimes: [{{kind: noop, threads: 1}}]
  scenarios: [{{kind: latency, batch_sizes: [1]}}, {{kind: latency, batch_sizes: [2]}}]
  protocol: {{processes: 1, rounds: 2, block_s: 0.005, max_calls: 5, warmup_min_s: 0, warmup_max_s: 0.2}}
decision: {{objective: {{kind: fastest}}}}
"""
BY_HAND = "by_hand"


class Lab:
    """One MLflow server, a proxy before it, and a project in which every command has run once.

    Args:
        folder: New folder.
        store: URI of the database behind the server.
        proxy: Proxy before the server.

    Attributes:
        begun: Module of each process that was started.
    """

    def __init__(self, folder: Path, store: str, proxy: Proxy) -> None:
        self.folder, self.store, self.proxy = folder, store, proxy
        self.begun: list[str] = []
        self._template = folder / "template"
        self._fill()

    def open(self, name: str, *, is_lossy: bool = False, experiment: str = "") -> Project:
        """Open the project of a point, with an experiment and a registered model of its own.

        Args:
            name: Name of the point.
            is_lossy: Whether its requests go through the proxy; otherwise to the server's database, without
                artifacts.
            experiment: Name of the experiment, if points share it.
        """
        overrides = (
            f"tracking.uri={self.proxy.uri if is_lossy else self.store}",
            f"tracking.benchmark_experiment=bench {experiment or name}",
            f"tracking.registered_model=model {name}",
        )
        return open_project(self.folder / name / "bakeoff.yaml", overrides)

    def begin(self, spoils: Callable[[int], Fault | None]) -> None:
        """Spoil what is named, and count requests and processes from 0."""
        self.begun.clear()
        self.proxy.begin(spoils)

    def copy(self, name: str, *left_out: str) -> None:
        """Copy the template to the place of a point."""
        shutil.copytree(self._template, self.folder / name, ignore=shutil.ignore_patterns(*left_out))

    def find_artifact(self, run: Run, artifact: str) -> Path:
        """Find an artifact where the server keeps it."""
        place = Path(run.info.experiment_id, run.info.run_id, "artifacts", artifact)
        return self.folder / "server" / "artifacts" / place

    def _fill(self) -> None:
        """Sweep, measure, decide and promote once, so that caches hold what no point is about."""
        folder = self._template
        folder.mkdir(parents=True)
        (folder / "bakeoff.yaml").write_text(CONFIG.format(uri=self.proxy.uri), encoding="utf-8")
        lines = files("bakeoff.demo").joinpath("data", "train.jsonl").read_text(encoding="utf-8").splitlines()
        for name, part in (("train", lines[:6]), ("test", lines[6:12])):
            (folder / f"{name}.jsonl").write_text("\n".join(part) + "\n", encoding="utf-8")
        _write_model(folder / "pretrained")
        in_fork(lambda: _sweep(folder))
        project = open_project(folder / "bakeoff.yaml", ["tracking.benchmark_experiment=bench template"])
        assert not bench(project).failed
        save_decision(project, decide(project))
        promote(project)
        for mark in (folder / "results").rglob("*.logged"):
            mark.unlink()
        shutil.rmtree(folder / ".cache" / "checkpoints")


def _write_model(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    make_checkpoint(folder)
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def _sweep(folder: Path) -> None:
    train_here(lambda checkpoint, _: _write_model(checkpoint))
    (result,) = sweep(open_project(folder / "bakeoff.yaml"))
    assert result.failure is None


@contextmanager
def lossy_lab(folder: Path) -> Iterator[Lab]:
    """A server, a proxy and a project, as long as the body runs; the machine is found quiet.

    Args:
        folder: New folder.
    """
    folder.mkdir(parents=True)
    start = processes.start_process
    lab: Lab | None = None

    def counted(module: str, *args: Any, **kwargs: Any) -> Any:
        if lab is not None:
            lab.begun.append(module)
        return start(module, *args, **kwargs)

    code = folder / "code" / "bakeoff"
    code.mkdir(parents=True)
    (code / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOCK_VARIABLE, str(folder / "lock"))
        patch.setattr(heat_run, "is_disturbed", lambda _: False)
        patch.setattr(heat_run, "judge_together", lambda _: None)
        patch.setattr(processes, "start_process", counted)
        patch.setattr(client_module, "RETRY_WAITS_S", (0.01, 0.01))
        # All of bakeoff's code travels with a model: hundreds of equal uploads, that say no more than one.
        patch.setattr(packaging, "_PACKAGE", code)
        store = f"sqlite:///{folder}/mlflow.db"
        with mlflow_server(store, folder / "server") as uri, proxy_before(uri) as proxy:
            lab = Lab(folder, store, proxy)
            yield lab


# --- commands ---------------------------------------------------------------------------------------------


class Command:
    """A command that meets faults.

    Attributes:
        name: Name of the command.
        n_starts: Number of processes that it starts to measure, with its repetition.
        experiment: Name of the benchmark experiment, if all points share it.
    """

    name: ClassVar[str]
    n_starts: ClassVar[int] = 0
    experiment: ClassVar[str] = ""

    def prepare(self, lab: Lab, name: str) -> None:
        """Make the state before a point."""
        lab.copy(name)

    def act(self, project: Project) -> None:
        """Run the command."""
        raise NotImplementedError

    def look(self, lab: Lab, project: Project) -> View:
        """Look at all that the command has to leave in the store and on disk."""
        raise NotImplementedError


class Bench(Command):
    """A bench of a machine that has nothing: it fetches the checkpoint, claims, measures and uploads."""

    name = "bench"
    n_starts = N_JOBS

    def prepare(self, lab: Lab, name: str) -> None:
        lab.copy(name, "results")

    def act(self, project: Project) -> None:
        bench(project)

    def look(self, lab: Lab, project: Project) -> View:
        items, n_doubled = _look_at_attempts(lab, project)
        planned = {("planned", str(each.job.scenario), each.action) for each in plan(project).jobs}
        return View(items | planned, n_doubled)


class BenchElsewhere(Bench):
    """A bench of a machine that has nothing, where another machine has measured all: it fetches readings."""

    name = "bench elsewhere"
    n_starts = 0
    experiment = "measured"

    def prepare(self, lab: Lab, name: str) -> None:
        super().prepare(lab, name)
        if not (lab.folder / self.experiment).exists():
            lab.copy(self.experiment)
            assert not sync(lab.open(self.experiment, is_lossy=True)).waiting


class Sync(Command):
    """A sync of two attempts and a decision that wait on disk."""

    name = "sync"

    def act(self, project: Project) -> None:
        sync(project)

    def look(self, lab: Lab, project: Project) -> View:
        items, n_doubled = _look_at_attempts(lab, project)
        found = _find_finished(project, Stage.DECISION)
        kept = {project.decision_path.name: project.decision_path.read_bytes()}
        is_marked = project.decision_path.with_suffix(".logged").is_file()
        decisions = {
            ("decision", is_marked, *_describe(run), _read_all(lab.find_artifact(run, "decision")) == kept)
            for run in found
        }
        return View(items | decisions, n_doubled + max(0, len(found) - 1))


class Promote(Command):
    """A promotion of a winner, where the champion is a version that was made by hand."""

    name = "promote"

    def prepare(self, lab: Lab, name: str) -> None:
        super().prepare(lab, name)
        client, model = create_client(lab.store), f"model {name}"
        client.create_registered_model(model)
        client.create_model_version(model, source="somewhere", tags={BY_HAND: "yes"})
        client.set_registered_model_alias(model, "champion", "1")

    def act(self, project: Project) -> None:
        promote(project)

    def look(self, lab: Lab, project: Project) -> View:
        client, model = create_client(lab.store), project.settings.tracking.registered_model
        found = client.get_registered_model(model)
        places = {str(version): name for name, version in found.aliases.items()}
        versions = list(client.search_model_versions(f"name = '{model}'"))
        items: set[object] = {("tags of the model", frozenset(found.tags))}
        for version in versions:
            at = places.get(str(version.version))
            if BY_HAND in version.tags:
                items.add((BY_HAND, at))
                continue
            run = client.get_run(str(version.run_id))
            digest = digest_folder(lab.find_artifact(run, tags.MODEL_ARTIFACT))
            is_whole = digest == version.tags[tags.MODEL_DIGEST]
            items.add(("winner", at, frozenset(version.tags), run.info.status, is_whole))
        return View(frozenset(items), max(0, len(versions) - 2))


COMMANDS: Sequence[Command] = (Bench(), BenchElsewhere(), Sync(), Promote())


def _look_at_attempts(lab: Lab, project: Project) -> tuple[frozenset[object], int]:
    """Look at all attempts on disk, and at their runs; return how often one counts again, too."""
    counted, items = Counter[str](), set[object]()
    runs = {run.info.run_id: run for run in _find_finished(project, Stage.BENCHMARK)}
    for run in runs.values():
        if run.data.tags[tags.VALIDITY] == "valid":
            counted[run.data.tags[tags.BENCHMARK_KEY]] += 1
    for attempt in project.results.list_attempts():
        key = attempt.job.key
        mark = project.results.find_logged(key, attempt.attempt)
        logged = runs.get(mark.run_id) if mark is not None else None
        if logged is None:
            items.add(("not logged", key))
            continue
        kept = {path.name: path.read_bytes() for path in project.results.attempt_files(attempt)}
        is_whole = _read_all(lab.find_artifact(logged, "benchmark")) == kept
        items.add((key, counted[key] > 0, is_whole, *_describe(logged)))
    return frozenset(items), sum(counted.values()) - len(counted)


def _find_finished(project: Project, stage: Stage) -> list[Run]:
    experiment_id = project.find_benchmark_experiment()
    assert experiment_id is not None
    found = project.tracker.search_runs(experiment_id, {tags.STAGE: stage})
    return [run for run in found if run.info.status == "FINISHED"]


def _describe(run: Run) -> tuple[object, ...]:
    return tuple(map(frozenset, (run.data.params.items(), run.data.metrics, run.data.tags)))


def _read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


# --- faults -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A fault at a request.

    Attributes:
        number: Number of the request, from 0.
        lasts: Whether all later requests meet it, too.
    """

    kind: Fault
    number: int
    lasts: bool

    def spoil(self, count: int) -> Fault | None:
        """Return what becomes of the request of a number."""
        return self.kind if (count >= self.number if self.lasts else count == self.number) else None

    def __str__(self) -> str:
        """The point in words."""
        return f"{self.kind} {'from then on' if self.lasts else 'once'} at {self.number}"


@dataclass
class Spoiling:
    """A command, and what it does undisturbed.

    Attributes:
        new: What it leaves.
        seen: Its requests.
        met: How many points of each kind were met.
    """

    lab: Lab
    command: Command
    new: View = field(init=False)
    seen: Sequence[str] = field(init=False)
    met: Counter[Fault] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        name = f"{self.command.name} undisturbed"
        self.command.prepare(self.lab, name)
        self.lab.begin(lambda _: None)
        self.command.act(self._open(name, is_lossy=True))
        assert len(self.lab.begun) == self.command.n_starts
        self.seen = tuple(self.lab.proxy.seen)
        self.new = self.command.look(self.lab, self._open(name))
        assert not self.new.n_doubled

    @property
    def points(self) -> list[Point]:
        """All points, mixed, so that a part of them from the first on has all kinds."""
        mixed, places = random.Random(0), list(itertools.product(range(len(self.seen)), (False, True)))
        of_kinds = [[Point(kind, *place) for place in mixed.sample(places, k=len(places))] for kind in FAULTS]
        return list(itertools.chain.from_iterable(zip(*of_kinds, strict=True)))

    def spoil(self, point: Point) -> Tally:
        """Let the command meet a fault, run it again without, and compare."""
        lab, command, name = self.lab, self.command, f"{self.command.name} {point}"
        command.prepare(lab, name)
        lab.begin(point.spoil)
        crash = story = ""
        with pytest.MonkeyPatch.context() as patch:
            if point.kind == "late reply":
                patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
            try:
                command.act(self._open(name, is_lossy=True))
            except BakeoffError:
                pass
            except Exception:  # noqa: BLE001 - the tale of the point
                crash = traceback.format_exc()
        if len(lab.proxy.seen) <= point.number:  # it made fewer requests this time
            return Tally()
        spoilt = lab.proxy.seen[point.number]
        self.met[point.kind] += 1
        lab.proxy.begin(lambda _: None)
        final: View | None = None
        try:
            command.act(self._open(name, is_lossy=True))
            final = command.look(lab, self._open(name))
        except Exception:  # noqa: BLE001 - the tale of the point
            story = traceback.format_exc()
        is_complete = final is not None and final.items == self.new.items
        n_doubled = max(0, len(lab.begun) - command.n_starts) + (final.n_doubled if final else 0)
        if is_complete and not n_doubled and not crash:
            shutil.rmtree(lab.folder / name)
            return Tally(n_points=1)
        if final is not None:
            story += f"; missing {self.new.items - final.items}; instead {final.items - self.new.items}"
        return Tally(
            n_points=1,
            n_torn=bool(crash),
            n_lost=not is_complete,
            n_doubled=n_doubled,
            stories=(f"{name}, {spoilt}: {len(lab.begun)} processes; {crash}{story}",),
        )

    def _open(self, name: str, *, is_lossy: bool = False) -> Project:
        return self.lab.open(name, is_lossy=is_lossy, experiment=self.command.experiment)


def spoil_everywhere(
    lab: Lab,
    command: Command,
    *,
    every: int = 1,
    is_once: bool = False,
    tell: Callable[[Tally, Tally], None] = lambda *_: None,
) -> tuple[Tally, Counter[Fault]]:
    """Let a command meet each kind of fault at each of its requests, once and from then on.

    Args:
        lab: Where.
        command: The command.
        every: One of so many points only.
        is_once: Whether only one request of a command meets a fault, never the later ones, too.
        tell: Called after each point, with what became of it and of all so far.

    Returns:
        What became of it, and how often each kind was met.
    """
    spoiling = Spoiling(lab, command)
    points = [point for point in spoiling.points if not (is_once and point.lasts)]
    total = Tally()
    for point in points[: math.ceil(len(points) / every)]:
        found = spoiling.spoil(point)
        total += found
        tell(found, total)
    return total, spoiling.met

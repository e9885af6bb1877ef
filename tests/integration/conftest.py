"""A tiny real model, made on the spot, and projects that use it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.tracking import MlflowClient

from bakeoff.core.config.data import DataSettings
from bakeoff.core.records import Champion
from bakeoff.disk.digest import digest_folder
from bakeoff.measure.heats import run as heat_run
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.orchestrator import Project, bench, decide, open_project, save_decision, select_champions, sweep
from bakeoff.orchestrator.bench import execute
from bakeoff.run.machine.forks import keeping_servers
from bakeoff.run.machine.lock import LOCK_VARIABLE
from bakeoff.stores.documents import read_documents
from bakeoff.stores.tracking import Tracker
from bakeoff.stores.tracking import client as client_module
from copies import STORE, copy_project
from once import make_once
from services import PostgresServer, mlflow_server
from workers import arm, make_worker

__all__ = ["arm", "make_worker"]  # fixtures that are written down elsewhere

# Models so small are no faster on two threads, which spin while they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Libraries set these when a test imports them. All tests have them, so that their orders share fork servers.
for name, value in (
    ("KMP_DUPLICATE_LIB_OK", "True"),
    ("KMP_INIT_AT_FORK", "FALSE"),
    ("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), "torchinductor"))),
):
    os.environ.setdefault(name, value)
N_TRAIN, N_TEST = 48, 24
QUICK_PROTOCOL = {
    "processes": 2,
    "rounds": 4,
    "block_s": 0.005,
    "max_calls": 20,
    "time_budget_s": 600,
    "warmup_min_s": 0.0,
    "warmup_max_s": 0.1,
}

HASHES = (
    "build_study_key_hash",
    "build_trial_key_hash",
    "compute_data_fingerprint",
    "compute_eval_fingerprint",
    "digest_file",
    "digest_folder",
    "look_at",
)
CLIENT_LOOK_UPS = (
    "get_experiment",
    "get_experiment_by_name",
    "get_run",
    "list_artifacts",
    "search_experiments",
    "search_runs",
)

Config = dict[str, dict[str, Any]]


def write_project(folder: Path, backbones: Mapping[str, Path], changes: Mapping[str, Any]) -> Path:
    """Write a project whose sweep and benchmark take seconds; returns its configuration folder."""
    source = files("bakeoff.demo").joinpath("data")
    for name, count in (("train.jsonl", N_TRAIN), ("test.jsonl", N_TEST)):
        lines = source.joinpath(name).read_text(encoding="utf-8").splitlines()[:count]
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config: Config = {
        "tracking": {"sweep_experiment": "sweep", "benchmark_experiment": "benchmark"},
        "data": {"train": "data/train.jsonl", "test": "data/test.jsonl", "max_length": 32},
        "hpo": {
            "backbones": {name: {"pretrained": str(path)} for name, path in backbones.items()},
            "n_trials": 3,
            "folds": 2,
            "search_space": {"learning_rate": {"kind": "float", "low": 0.001, "high": 0.02}},
            "training": {"epochs": 2},
        },
        "benchmark": {
            # The tests ask what becomes of a measurement, on whatever machine they run.
            "accept_contended": True,
            # All candidates get all repeats, however clear the decision; the race has tests of its own.
            "until": "intervals",
            "protocol": QUICK_PROTOCOL,
            "scenarios": [{"kind": "quality"}, {"kind": "latency", "batch_sizes": [1, 2]}],
        },
        "decision": {"when_tied": "fastest"},
    }
    for stage, section in changes.items():
        config.setdefault(stage, {}).update(section)
    for stage, section in config.items():
        path = folder / "config" / f"{stage}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(section), encoding="utf-8")
    return folder / "config"


@pytest.fixture(scope="session", autouse=True)
def machine_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lock of the machine that the tests of this process play: no test waits for another one's bench."""
    path = tmp_path_factory.mktemp("machine") / "lock"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOCK_VARIABLE, str(path))
        yield path


@pytest.fixture(scope="session", autouse=True)
def fork_servers() -> Iterator[None]:
    """Untimed orders of all tests of this process share fork servers, as those of one command do."""
    with keeping_servers():
        yield


@pytest.fixture(autouse=True)
def short_waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking store that is down is tried again at once; slow tests wait as users do."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(client_module, "RETRY_WAITS_S", (0.01,) * len(client_module.RETRY_WAITS_S))


@pytest.fixture(autouse=True)
def own_tracking_uri() -> Iterator[None]:
    """The store that a test names to MLflow is named to no later test, and to no command of one."""
    yield
    if mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call]
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heats of this process find the machine quiet, so that none of their repeats is replaced.

    For tests that count processes: a round of calls that do nothing is disturbed by less than a microsecond.
    """
    find_quiet(monkeypatch)


def find_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat_run, "is_disturbed", lambda _: False)
    monkeypatch.setattr(heat_run, "judge_together", lambda _: None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres_uri(postgres_server: PostgresServer) -> str:
    """An empty PostgreSQL database."""
    return postgres_server.make_database()


@pytest.fixture
def mlflow_uri(tmp_path: Path) -> Iterator[str]:
    """MLflow's own server before a SQLite store."""
    with mlflow_server(f"sqlite:///{tmp_path}/server.db", tmp_path / "server") as uri:
        yield uri


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and 32 units with a word-level tokenizer over the bundled text."""
    return make_once(tmp_path_factory, "tiny", write_backbone)


def write_backbone(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    lines = files("bakeoff.demo").joinpath("data", "train.jsonl").read_text(encoding="utf-8").splitlines()
    words = sorted({word.lower() for line in lines for word in json.loads(line)["tokens"]})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **shape))
    model.save_pretrained(folder, safe_serialization=True)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with tables and nothing in them: to be copied, since making one takes seconds."""
    return make_once(tmp_path_factory, "empty-store", write_store) / STORE


def write_store(folder: Path) -> None:
    Tracker(f"sqlite:///{folder / STORE}").call(
        "making the tables", lambda client: client.search_experiments()
    )


@pytest.fixture(scope="session")
def shipped(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which every stage up to the decision was run once, with two real runtimes."""

    def ship(folder: Path) -> None:
        # Trained until it finds entities: answers that are all empty would prove nothing.
        hpo = {
            "training": {"epochs": 12},
            "search_space": {"learning_rate": {"kind": "float", "low": 0.01, "high": 0.02}},
        }
        # The project makes its store, as those of users do.
        project = open_project(write_project(folder, {"tiny": tiny_backbone}, {"hpo": hpo}))
        results = sweep(project)
        assert [result.failure for result in results] == [None]
        with pytest.MonkeyPatch.context() as patch:
            find_quiet(patch)
            benched = bench(project)
        assert benched.failed == ()
        save_decision(project, decide(project))

    return make_once(tmp_path_factory, "shipped", ship)


@pytest.fixture
def project_folder(shipped: Path, tmp_path: Path) -> Path:
    """A copy of the shipped project, free to be changed."""
    return copy_project(shipped, tmp_path / "project")


@pytest.fixture(scope="session")
def champion(shipped: Path) -> Champion:
    """The shipped project's champion, complete with its checkpoint."""
    project = open_project(shipped / "config")
    found = select_champions(project)["tiny"].champion
    assert found is not None
    checkpoint = shipped / ".cache" / "checkpoints" / found.refit_run_id / "checkpoint"
    assert digest_folder(checkpoint) == found.checkpoint_digest
    return found.model_copy(update={"checkpoint_path": checkpoint})


@pytest.fixture
def reopen(project_folder: Path) -> Callable[..., Project]:
    """Open the copied project with overrides."""
    return lambda *overrides: open_project(project_folder / "config", overrides)


@pytest.fixture(scope="session")
def make_project(empty_store: Path) -> Callable[..., Path]:
    """The function that writes projects, with a store that has its tables."""

    def make(folder: Path, backbones: Mapping[str, Path], changes: Mapping[str, Any]) -> Path:
        config = write_project(folder, backbones, changes)
        shutil.copyfile(empty_store, folder / STORE)
        return config

    return make


@pytest.fixture(scope="session")
def documents(shipped: Path) -> tuple[TaggedDocument, ...]:
    """The shipped project's test documents."""
    found = read_documents(shipped / "data" / "test.jsonl", DataSettings(train="", test=""))
    return tuple(document for document in found if isinstance(document, TaggedDocument))


@pytest.fixture
def champion_copy(champion: Champion, tmp_path: Path) -> Path:
    """A copy of the champion's checkpoint folder, free to be spoilt."""
    assert champion.checkpoint_path is not None
    return Path(shutil.copytree(champion.checkpoint_path, tmp_path / "checkpoint"))


@pytest.fixture(scope="session")
def make_classifier(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a tiny checkpoint of an architecture by its name in transformers, taught to tag by number.

    The label of a word is the one at its number in the vocabulary, modulo the number of labels.
    """
    n_ids = len(json.loads((tiny_backbone / "tokenizer.json").read_text())["model"]["vocab"])
    shapes: dict[str, dict[str, Any]] = {
        "bert": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        },
        "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    }

    def teach(name: str, labels: Sequence[str], folder: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForTokenClassification

        torch.manual_seed(0)
        config = AutoConfig.for_model(
            name,
            vocab_size=n_ids,
            max_position_embeddings=64,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            **shapes[name],
        )
        model = AutoModelForTokenClassification.from_config(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        for _ in range(60):
            ids = torch.randint(0, n_ids, (16, 16))
            model(input_ids=ids, labels=ids % len(labels)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval().save_pretrained(str(folder), safe_serialization=True)
        shutil.copyfile(tiny_backbone / "tokenizer.json", folder / "tokenizer.json")

    def make(name: str, labels: Sequence[str] = ("O", "B-a", "I-a", "B-b", "I-b")) -> Path:
        title = f"classifier-{name}-{'-'.join(labels)}"
        return make_once(tmp_path_factory, title, functools.partial(teach, name, labels))

    return make


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often this process calls a hash, asks the tracking store, or searches a folder.

    What happens before the first measurement is kept as ``before: NAME``.
    """
    counts: Counter[str] = Counter()

    def count(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        return counted

    modules = [module for name, module in sys.modules.items() if name.startswith("bakeoff.")]
    for name in HASHES:
        for module in modules:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, count(name, getattr(module, name)))
    call = Tracker.call

    def counted_call(self: Tracker, action: str, function: Callable[..., object], **more: Any) -> object:
        counts[action] += 1
        return call(self, action, function, **more)

    monkeypatch.setattr(Tracker, "call", counted_call)
    rglob = Path.rglob
    monkeypatch.setattr(Path, "rglob", count("search", rglob))
    for name in CLIENT_LOOK_UPS:
        monkeypatch.setattr(MlflowClient, name, count(name, getattr(MlflowClient, name)))
    measure = execute.measure_unit

    def note_and_measure(*args: Any, **kwargs: Any) -> None:
        counts.update({f"before: {name}": n for name, n in counts.items() if "before" not in name})
        counts["measure_unit"] += 1
        measure(*args, **kwargs)

    monkeypatch.setattr(execute, "measure_unit", note_and_measure)
    return counts

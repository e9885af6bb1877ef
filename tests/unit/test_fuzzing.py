"""Input of any bytes is read, or refused with an error of our own: no other exception, and no hang."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bakeoff.core.config.data import DataSettings
from bakeoff.core.config.parse import parse_settings
from bakeoff.core.config.settings import Settings
from bakeoff.core.decision.decide import Decision, read_decision
from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.disk.sealed import open_sealed, read_sealed, seal_json
from bakeoff.errors import BakeoffError, CheckpointError, ConfigError, DataError, WorkerError
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.safetensors import INDEX_FILE, WEIGHTS_FILE, WeightFiles, check_weights
from bakeoff.orchestrator import Project, open_project
from bakeoff.orchestrator.champions import KeptSelection
from bakeoff.run.machine.processes import STDERR_FILE
from bakeoff.run.measuring.orders import OUTCOME_FILE, Done, Failed, _open_outcome
from bakeoff.run.measuring.resident import Ended, Imported, Ran, Ready, ResidentWorker
from bakeoff.stores.documents import read_documents
from bakeoff.stores.results.attempt_files import encode_attempt, parse_attempt
from fault_cases import DECISIONS, FIRST
from unit.conftest import _write_checkpoint as make_checkpoint

MOST_CHARS = 20_000
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 70), st.floats(), st.text(max_size=20),
    st.sampled_from(["", "0", "1e999", "\ud800", "\x00", "../x", "F32", "10" * 3000, "\u2028"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
DOCUMENT, ARRAYS = encode_attempt(FIRST)
ATTEMPT = open_sealed(DOCUMENT)
DECISION = DECISIONS[0].model_dump(mode="json")
OUTCOME = Done(readings=FIRST.readings, environment=FIRST.environment).model_dump(mode="json")
CONFIG: dict[str, Any] = {
    "tracking": {"uri": "sqlite:///x.db", "sweep_experiment": "sweep"},
    "data": {
        "train": "a.jsonl",
        "test": "b.jsonl",
        "max_length": 32,
        "task": {"kind": "text_classification"},
    },
    "hpo": {
        "backbones": {"tiny": {"pretrained": "x"}},
        "n_trials": 3,
        "search_space": {"rate": {"kind": "float", "low": 0.1, "high": 0.2}},
        "objective": {"metric": "f1"},
    },
    "models": {"mine": {"path": "folder"}},
    "benchmark": {
        "runtimes": [{"kind": "torch"}, {"kind": "onnxruntime", "precision": "int8", "threads": 2}],
        "scenarios": [{"kind": "quality"}, {"kind": "latency", "batch_sizes": [1, 8]}],
        "protocol": {"preset": "quick"},
    },
    "decision": {"constraints": [{"kind": "quality", "at_least": 0.7}], "objective": {"kind": "weighted"}},
}
HEADER: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "U8", "shape": [4], "data_offsets": [16, 20]},
}
MODEL_CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertForTokenClassification"],
    "id2label": {"0": "O", "1": "B-PER"},
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}


def list_places(value: object, above: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Every place in a value, each as the keys that lead there."""
    match value:
        case dict():
            inner = list(value.items())
        case list():
            inner = list(enumerate(value))
        case _:
            inner = []
    return [above, *(place for key, each in inner for place in list_places(each, (*above, key)))]


@st.composite
def changed(draw: st.DrawFn, whole: Mapping[str, Any]) -> Any:
    """A document with up to three changes: another value, one less, or one more, anywhere."""
    value: Any = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list_places(value)))
        new = draw(VALUES)
        if not place:
            if draw(st.booleans()) or not isinstance(value, dict):
                return new
            value[draw(st.text(max_size=8))] = new
            continue
        holder = value
        for step in place[:-1]:
            holder = holder[step]
        if draw(st.booleans()):
            holder[place[-1]] = new
        else:
            del holder[place[-1]]
    return value


def write(value: object) -> bytes:
    return json.dumps(value).encode()


@contextmanager
def refusal(kind: type[Exception]) -> Iterator[None]:
    """An error of one kind is as good as a value, if its message is short; any other is a fault."""
    try:
        yield
    except kind as error:
        if len(str(error)) > MOST_CHARS:
            raise AssertionError("its message is too long") from error


def seal(value: object) -> bytes:
    """A document with its right digest, as someone writes it on purpose; of what has none, its bytes."""
    try:
        return seal_json(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return write(value)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzing")


# --- configuration ----------------------------------------------------------------------------------------


@given(st.text() | changed(CONFIG).map(json.dumps))
@example("a: &a [*a]")
@example("? [1]\n: 2")
@example("2001-99-99")
@example("!!python/object:os.system x")
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    with refusal(ConfigError):
        assert isinstance(parse_settings({"": ("bakeoff.yaml", text)}), Settings)


PLACES = st.sampled_from(
    ["hpo.n_trials", "benchmark.runtimes.0.kind", "benchmark.scenarios.-1", "data", "decision", "x.0.1"]
)
OVERRIDES = st.text() | st.builds("{}={}".format, PLACES, st.text() | VALUES.map(json.dumps))


@given(st.lists(OVERRIDES, max_size=3))
def test_any_override_is_a_setting_or_a_config_error(overrides: list[str]) -> None:
    with refusal(ConfigError):
        assert isinstance(parse_settings({"": ("bakeoff.yaml", json.dumps(CONFIG))}, overrides), Settings)


@given(st.binary(max_size=200) | changed(CONFIG).map(write))
def test_a_file_of_any_bytes_opens_a_project_or_is_a_config_error(place: Path, data: bytes) -> None:
    path = place / "bakeoff.yaml"
    path.write_bytes(data)
    with refusal(ConfigError):
        assert isinstance(open_project(path), Project)


# --- processes --------------------------------------------------------------------------------------------


@given(st.binary(max_size=200) | changed(OUTCOME).map(seal))
def test_an_outcome_of_any_bytes_is_read_or_counts_as_broken(place: Path, data: bytes) -> None:
    (place / OUTCOME_FILE).write_bytes(data)
    with refusal(ValueError):
        assert isinstance(_open_outcome(place / OUTCOME_FILE), Done | Failed)


ANSWERS: list[Mapping[str, Any]] = [
    {"kind": "imported", "resident_bytes": 5},
    {"kind": "failed", "error": "x", "message": "y", "is_user_error": True},
    {"kind": "ran", "block": {"spans": []}},
    {"kind": "ended", "finished": {}},
]


FRAMES = st.sampled_from(ANSWERS).flatmap(changed).map(lambda answer: write(answer) + b"\n")


@given(st.binary(max_size=200) | FRAMES)
def test_a_frame_of_any_bytes_is_an_answer_or_a_worker_error(place: Path, data: bytes) -> None:
    (place / STDERR_FILE).touch()
    worker = ResidentWorker("x", None, place, 5.0)  # type: ignore[arg-type]
    worker._answers, theirs = os.pipe()
    os.write(theirs, data)
    os.close(theirs)
    with refusal(WorkerError):
        assert isinstance(worker._receive(place, 5.0), Imported | Ready | Ran | Ended)
    worker.kill()


# --- stored files -----------------------------------------------------------------------------------------


@given(st.binary(max_size=200) | changed(ATTEMPT).map(seal), st.just(ARRAYS) | st.binary(max_size=200))
def test_a_result_of_any_bytes_is_read_or_a_data_error(document: bytes, arrays: bytes) -> None:
    with refusal(DataError):
        assert isinstance(parse_attempt(document, arrays, "here"), Measurement | FailedAttempt)


@given(st.binary(max_size=200) | changed(DECISION).map(seal))
def test_a_decision_of_any_bytes_is_read_or_a_data_error(document: bytes) -> None:
    with refusal(DataError):
        assert isinstance(read_decision(document, "here"), Decision)


@given(st.binary(max_size=200) | VALUES.map(seal))
def test_a_selection_of_any_bytes_is_read_or_refused(document: bytes) -> None:
    with refusal(ValueError):
        assert isinstance(read_sealed(document, KeptSelection), KeptSelection)


# --- checkpoints ------------------------------------------------------------------------------------------


def put_header(folder: Path, name: str, text: bytes, data: bytes = bytes(20)) -> None:
    (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


@given(st.binary(max_size=100) | changed(HEADER).map(write), st.sampled_from([b"", bytes(20), bytes(19)]))
def test_weights_with_any_header_are_read_or_a_checkpoint_error(
    place: Path, header: bytes, data: bytes
) -> None:
    folder = place / "weights"
    folder.mkdir(exist_ok=True)
    put_header(folder, WEIGHTS_FILE, header, data)
    with refusal(CheckpointError):
        assert isinstance(check_weights(folder), WeightFiles)


@given(st.binary(max_size=100))
def test_weights_of_any_bytes_are_read_or_a_checkpoint_error(place: Path, data: bytes) -> None:
    folder = place / "raw"
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(data)
    with refusal(CheckpointError):
        assert isinstance(check_weights(folder), WeightFiles)


INDEX = {"metadata": {}, "weight_map": {"a.weight": "one.safetensors", "b": "one.safetensors"}}


@given(st.binary(max_size=100) | changed(INDEX).map(write))
def test_any_index_of_weights_is_read_or_a_checkpoint_error(place: Path, index: bytes) -> None:
    folder = place / "shards"
    folder.mkdir(exist_ok=True)
    put_header(folder, "one.safetensors", write(HEADER))
    (folder / INDEX_FILE).write_bytes(index)
    with refusal(CheckpointError):
        assert isinstance(check_weights(folder), WeightFiles)


@given(st.binary(max_size=100) | changed(MODEL_CONFIG).map(write))
def test_any_configuration_of_a_model_is_read_or_a_checkpoint_error(place: Path, config: bytes) -> None:
    folder = make_checkpoint(place / "model") if not (place / "model").exists() else place / "model"
    (folder / "config.json").write_bytes(config)
    with refusal(CheckpointError):
        assert isinstance(open_checkpoint(folder), Checkpoint)


# --- documents --------------------------------------------------------------------------------------------


ROWS = st.lists(changed({"tokens": ["a", "b"], "ner_tags": ["O", "B-x"]}).map(write), max_size=3)


@given(st.binary(max_size=200) | ROWS.map(b"\n".join))
def test_documents_of_any_bytes_are_read_or_refused(place: Path, data: bytes) -> None:
    path = place / "documents.jsonl"
    path.write_bytes(data)
    with refusal(BakeoffError):
        read_documents(path, DataSettings(train="", test=""))

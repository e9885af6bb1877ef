"""Builders that several unit tests share: whole values, of which a test changes what it is about."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.job import JOB, Environment, Hardware, Job
from bakeoff.core.records import Measurement
from bakeoff.measure.backends import Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency
from bakeoff.measure.statistics.readings import Reading


def _hardware(**changes: Any) -> Hardware:
    values: dict[str, Any] = {
        "machine": "x86_64",
        "cpu_model": "Example CPU",
        "physical_cores": 2,
        "usable_cpus": 2,
    }
    return Hardware(**values | changes)


def _job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "backbone": "minilm-l6",
        "champion_run_id": "c" * 32,
        "trial_run_id": "7" * 32,
        "sweep_run_id": "5" * 32,
        "study_key_hash": "1" * 64,
        "trial_key_hash": "2" * 64,
        "checkpoint_digest": "3" * 64,
        "data_fingerprint": "d" * 64,
        "eval_fingerprint": "e" * 64,
        "runtime": Torch(threads=2),
        "scenario": Latency(),
        "protocol": TimingProtocol(),
        "hardware": _hardware(),
        "inputs_digest": "4" * 64,
        "max_length": 128,
        "metric_name": "f1",
    }
    given = values | changes
    return JOB.validate_python({name: value for name, value in given.items() if value is not None})


def _environment(**libraries: str) -> Environment:
    return Environment(hardware=_hardware(), libraries={"python": "3.12.1", "torch": "2.9.0"} | libraries)


def _measurement(job: Job, *readings: Reading, **changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "attempt": 1,
        "measured_at": "2026-01-01T00:00:00+00:00",
        "environment": _environment(),
        "flags": (),
        "wall_s": 1.0,
        "timed_s": 0.5,
    }
    return Measurement(job=job, readings=readings, **values | changes)


def _write_safetensors(path: Path, tensors: Mapping[str, bytes]) -> None:
    """Write tensors of bytes in the format's own layout: length of the header, header, data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, data in tensors.items():
        kind, size = ("F32", 4) if name.endswith(".weight") else ("U8", 1)
        span = [offset, offset + len(data)]
        header[name] = {"dtype": kind, "shape": [len(data) // size], "data_offsets": span}
        offset += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensors.values()))


def _write_checkpoint(folder: Path, tensors: Mapping[str, bytes] | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model_type": "bert",
        "architectures": ["BertForTokenClassification"],
        "id2label": {"0": "O", "1": "B-PER"},
    } | config
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    _write_safetensors(folder / "model.safetensors", tensors or {"classifier.weight": bytes(range(256)) * 4})
    return folder


@pytest.fixture(scope="session")
def make_hardware() -> Callable[..., Hardware]:
    """Hardware; keyword arguments replace its fields."""
    return _hardware


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """A latency job on PyTorch; keyword arguments replace its fields."""
    return _job


@pytest.fixture(scope="session")
def make_environment() -> Callable[..., Environment]:
    """An environment; keyword arguments replace library versions."""
    return _environment


@pytest.fixture(scope="session")
def make_measurement() -> Callable[..., Measurement]:
    """A measurement of a job with these readings; keyword arguments replace its fields."""
    return _measurement


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Path]:
    """Write a checkpoint into a folder; keyword arguments are settings of its config.json."""
    return _write_checkpoint


@pytest.fixture(scope="session")
def make_safetensors() -> Callable[[Path, Mapping[str, bytes]], None]:
    """Write a safetensors file of byte tensors."""
    return _write_safetensors

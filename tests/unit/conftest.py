"""Builders that several unit tests share: whole values, of which a test changes what it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bakeoff.core.records import Environment, Hardware, Job
from bakeoff.measure.backends import Torch
from bakeoff.measure.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency


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
    return Job(**values | changes)


def _environment(**libraries: str) -> Environment:
    return Environment(hardware=_hardware(), libraries={"python": "3.12.1", "torch": "2.9.0"} | libraries)


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

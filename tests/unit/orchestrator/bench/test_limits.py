"""Limits of untimed processes grow with the model, and the settings go before them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.core.config.settings import BenchmarkSettings
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.row_model import RowModel
from bakeoff.orchestrator.bench.limits import GIB, TIMEOUT_S, bound_memory_bytes, bound_time_s

Size = Callable[[int], Checkpoint]


@pytest.fixture
def of_size(tmp_path: Path) -> Size:
    """A checkpoint with weights of so many bytes, which take no room on the disk."""

    def make(size_bytes: int) -> Checkpoint:
        with (tmp_path / "model.safetensors").open("wb") as file:
            file.truncate(size_bytes)
        return Checkpoint(tmp_path, ("O",), 0)

    return make


def test_defaults_grow_with_weights_and_documents(of_size: Size) -> None:
    settings, runtime = BenchmarkSettings(), OnnxRuntime()
    assert bound_memory_bytes(settings, of_size(0), runtime) == 8 * GIB
    assert bound_memory_bytes(settings, of_size(2 * GIB), runtime) == 56 * GIB
    assert bound_time_s(settings, of_size(0)) == 900
    assert bound_time_s(settings, of_size(0), n_documents=1000) == 920
    assert bound_time_s(settings, of_size(2 * GIB), n_documents=1000) == 900 + 3600 + 20 + 10_000


def test_settings_go_before_defaults(of_size: Size) -> None:
    settings = BenchmarkSettings(timeout_s=7.0, memory_limit_bytes=GIB)
    opened = of_size(GIB)
    assert bound_time_s(settings, opened, n_documents=1000) == 7.0
    assert bound_memory_bytes(settings, opened, Torch(device="cuda")) == GIB


def test_trusted_code_and_devices_have_the_memory_of_the_system(of_size: Size, tmp_path: Path) -> None:
    code = RowModel(tmp_path)
    assert bound_memory_bytes(BenchmarkSettings(), code, OnnxRuntime()) is None
    assert bound_time_s(BenchmarkSettings(), code, n_documents=10**6) == TIMEOUT_S
    assert bound_memory_bytes(BenchmarkSettings(), of_size(GIB), Torch(device="cuda")) is None

"""Limits of worker processes: the configured ones, or defaults by the size of the model.

Defaults end what hangs or grows without bounds. They are no estimates: an honest job stays far below them.
"""

from __future__ import annotations

from bakeoff.core.config.settings import BenchmarkSettings
from bakeoff.measure.backends import Backend
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.row_model import RowModel

GIB = 1 << 30
# Limit of a process that measures time, or runs a model whose size says nothing about its work.
TIMEOUT_S = 1800.0
# Importing libraries, and compiling a small model on a busy machine.
BASE_S = 900.0
# Export, conversion and comparison in two runtimes; compiling takes longest.
S_PER_GIB = 1800.0
# A document of 128 tokens is 70 GFLOP for each GiB of weights: 3.5 s on one slow core. Reading it costs time
# without any weights.
S_PER_DOCUMENT, S_PER_DOCUMENT_AND_GIB = 0.02, 5.0
# Preparing a tiny model allocated 0.7 GiB with one thread; each thread has a stack and a heap of its own.
# An export takes three times the weights as float32, and eight-bit conversion eight times; a file may hold
# them as float16, in half the bytes.
BASE_BYTES = 8 * GIB
BYTES_PER_WEIGHT_BYTE = 24


def bound_time_s(settings: BenchmarkSettings, opened: Checkpoint | RowModel, n_documents: int = 0) -> float:
    """Choose the time after which an untimed process is killed, in s.

    Args:
        settings: Settings, whose limit counts if it is set.
        opened: Model of the process.
        n_documents: Documents that it reads, apart from those of the comparison.
    """
    if settings.timeout_s is not None:
        return settings.timeout_s
    if not isinstance(opened, Checkpoint):
        return TIMEOUT_S
    gib = opened.size_bytes / GIB
    return BASE_S + S_PER_GIB * gib + n_documents * (S_PER_DOCUMENT + S_PER_DOCUMENT_AND_GIB * gib)


def bound_memory_bytes(
    settings: BenchmarkSettings, opened: Checkpoint | RowModel, runtime: Backend
) -> int | None:
    """Choose the memory that an untimed process may allocate, in bytes; None leaves it to the system.

    Code that you trust takes what it takes, and drivers of devices reserve far more than they use.

    Args:
        settings: Settings, whose limit counts if it is set.
        opened: Model of the process.
        runtime: Runtime of the process.
    """
    if settings.memory_limit_bytes is not None:
        return settings.memory_limit_bytes
    if not isinstance(opened, Checkpoint) or getattr(runtime, "device", "cpu") != "cpu":
        return None
    return BASE_BYTES + BYTES_PER_WEIGHT_BYTE * opened.size_bytes

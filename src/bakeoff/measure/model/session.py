"""Interfaces of loaded models: tensors in and logits out, or rows in and answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.model.tokenizer import Batch

# What a backend loads: a checkpoint of transformers, a given ONNX graph, an MLflow model, or an object that
# a function of the user makes. The last two read rows.
ModelKind = Literal["checkpoint", "graph", "pyfunc", "python"]
READS_ROWS: frozenset[ModelKind] = frozenset({"pyfunc", "python"})


class Described(Protocol):
    """Loaded model that reports how it runs."""

    def describe(self) -> Mapping[str, str]:
        """Return what is in force, read back from the library: threads, precision, providers, build.

        Every measurement records it. If it differs from the runtime's settings, this is the truth. Never call
        it inside the timed region.
        """
        ...

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return the accelerator's peak memory since loading, by counter, in bytes; empty on a CPU."""
        ...


class Session(Described, Protocol):
    """Loaded model that reads tensors, ready for calls."""

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits [documents, tokens, labels] in host memory.

        The device has finished when this returns: a GPU session synchronises first, so that the caller's
        clock sees all the work. The session stays usable after a call that raised.
        """
        ...


class RowSession(Described, Protocol):
    """Loaded model that reads rows, ready for calls."""

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the model's answers to rows, as it gives them: one a row if the model is right."""
        ...

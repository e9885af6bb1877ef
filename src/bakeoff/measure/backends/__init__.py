"""Backends that turn a checkpoint into a session, one file each; the file's name is the YAML ``kind``.

They share ``availability`` (libraries, CPU instructions), ``export`` (PyTorch to ONNX) and ``parity``. Parity
is the comparison with PyTorch that every runtime must pass before anything is timed.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakeoff.measure.backends.noop import Noop
from bakeoff.measure.backends.onnxruntime import OnnxRuntime
from bakeoff.measure.backends.openvino import OpenVino
from bakeoff.measure.backends.pyfunc import PyFunc
from bakeoff.measure.backends.python import Python
from bakeoff.measure.backends.torch import Torch

TensorBackend = Noop | OnnxRuntime | OpenVino | Torch
# Backends of models that read rows; each runs the one kind that it is named after.
RowBackend = PyFunc | Python
Backend = Annotated[TensorBackend | RowBackend, Field(discriminator="kind")]
BACKENDS = (Noop, OnnxRuntime, OpenVino, PyFunc, Python, Torch)


def list_libraries() -> tuple[str, ...]:
    """Return every distribution that a backend needs, sorted."""
    return tuple(sorted({name for each in BACKENDS for name in (*each.libraries, *each.build_libraries)}))


__all__ = [
    "BACKENDS",
    "Backend",
    "Noop",
    "OnnxRuntime",
    "OpenVino",
    "PyFunc",
    "Python",
    "RowBackend",
    "TensorBackend",
    "Torch",
    "list_libraries",
]

"""How a checkpoint becomes a session. One file a backend; the file's name is the YAML ``kind``.

What they share: ``requirements`` (libraries, CPU instructions), ``export`` (PyTorch to ONNX) and
``agreement`` (the comparison with PyTorch that every runtime must pass before anything is timed).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakeoff.measure.backends.noop import Noop
from bakeoff.measure.backends.onnxruntime import OnnxRuntime
from bakeoff.measure.backends.openvino import OpenVino
from bakeoff.measure.backends.torch import Torch

Backend = Annotated[Noop | OnnxRuntime | OpenVino | Torch, Field(discriminator="kind")]

__all__ = ["Backend", "Noop", "OnnxRuntime", "OpenVino", "Torch"]

"""How a checkpoint becomes a session. One file a backend; the file's name is the YAML ``kind``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakeoff.measure.backends.noop import Noop
from bakeoff.measure.backends.onnxruntime import OnnxRuntime
from bakeoff.measure.backends.torch import Torch

Backend = Annotated[Noop | OnnxRuntime | Torch, Field(discriminator="kind")]

__all__ = ["Backend", "Noop", "OnnxRuntime", "Torch"]

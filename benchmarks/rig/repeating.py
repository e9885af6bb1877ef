"""A worker whose every call runs the model several times: candidates that differ by a known ratio.

Started as ``python -m rig.repeating_20`` and the like.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.backends import onnxruntime
from bakeoff.measure.model.tokenizer import Batch
from bakeoff.run.measuring import worker


def main(times: int) -> int:
    """Run the worker with sessions that repeat every call."""
    infer = onnxruntime.OnnxSession.infer

    def repeated(self: onnxruntime.OnnxSession, batch: Batch) -> NDArray[np.float32]:
        for _ in range(times - 1):
            infer(self, batch)
        return infer(self, batch)

    onnxruntime.OnnxSession.infer = repeated  # type: ignore[method-assign]
    return worker.main(sys.argv[1:])

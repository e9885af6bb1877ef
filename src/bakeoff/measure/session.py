"""What every runtime gives us: a loaded model that turns one batch into logits."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.encoding import Batch


class Session(Protocol):
    """A loaded model, ready to answer."""

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits [documents, tokens, labels] in host memory.

        Promise: when this returns, the device is done. A session on a GPU synchronises before it returns, so
        that the caller's clock sees the whole work.
        """
        ...

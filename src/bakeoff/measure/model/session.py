"""What every runtime gives us: a loaded model that turns one batch into logits, and says how it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.model.tokenizer import Batch


class Session(Protocol):
    """A loaded model, ready to answer."""

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits [documents, tokens, labels] in host memory.

        Promise: when this returns, the device is done. A session on a GPU synchronises before it returns, so
        that the caller's clock sees the whole work. A call that raised leaves the session usable.
        """
        ...

    def describe(self) -> Mapping[str, str]:
        """What is really in force, read back from the library: threads, precision, providers, build.

        Recorded with every measurement. What was asked for stands in the runtime's settings; where the two
        differ, this is the truth. Not for the timed region.
        """
        ...

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Peak memory of the accelerator since loading, by counter, in bytes; empty on a CPU."""
        ...

"""Interface of every runtime: a loaded model that turns one batch into logits and reports how it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.model.tokenizer import Batch


class Session(Protocol):
    """Loaded model, ready for calls."""

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits [documents, tokens, labels] in host memory.

        The device has finished when this returns: a GPU session synchronises first, so that the caller's
        clock sees all the work. The session stays usable after a call that raised.
        """
        ...

    def describe(self) -> Mapping[str, str]:
        """Return what is in force, read back from the library: threads, precision, providers, build.

        Every measurement records it. If it differs from the runtime's settings, this is the truth. Never call
        it inside the timed region.
        """
        ...

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return the accelerator's peak memory since loading, by counter, in bytes; empty on a CPU."""
        ...

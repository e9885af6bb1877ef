"""Backend that computes nothing, to measure the cost of the instrument itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.measure.backends import parity
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import ModelKind
from bakeoff.measure.model.tokenizer import Batch
from bakeoff.record import Record


class Noop(Record):
    """Runtime that returns zeros of the right shape at once, to measure the cost of bakeoff itself.

    Attributes:
        precision: Type of the zeros.
        device: The CPU only.
        threads: Number of threads, accepted as in every runtime, but not used.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    build_libraries: ClassVar[tuple[str, ...]] = ()
    extras: ClassVar[tuple[str, ...]] = ()

    kind: Literal["noop"] = "noop"
    precision: Literal["fp32"] = "fp32"
    device: Literal["cpu"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def runs(self) -> ModelKind:
        """Kind of the models that it loads."""
        return "checkpoint"

    @property
    def label(self) -> str:
        """Short name for tables."""
        return "noop"

    def for_graph(self) -> Self | None:
        """Return None: it runs no graph."""
        return None

    def require_installed(self) -> None:
        """Do nothing: no library is needed."""

    def import_libraries(self) -> None:
        """Do nothing: no library is needed."""

    def prepare_settings(self) -> dict[str, str] | None:
        """Return None: nothing has to be made from the checkpoint first."""
        return None

    def load(
        self, checkpoint: Checkpoint, prepared: Path | None, *, is_verified: bool = False
    ) -> NoopSession:
        """Load nothing."""
        del prepared, is_verified
        return NoopSession(len(checkpoint.labels), is_per_token=checkpoint.head == "token_classification")

    def prepare(self, checkpoint: Checkpoint, folder: Path, sample: parity.Sample) -> None:
        """Make nothing."""

    def model_size_bytes(self, prepared: Path | None, checkpoint: Checkpoint) -> int:
        """Return 0: no file is loaded."""
        del prepared, checkpoint
        return 0


class NoopSession:
    """Session that returns zeros for every label, of a token or of a document."""

    def __init__(self, n_labels: int, *, is_per_token: bool = True) -> None:
        self._n_labels = n_labels
        self._is_per_token = is_per_token

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return zeros [documents, tokens, labels]."""
        shape = batch.arrays["input_ids"].shape if self._is_per_token else batch.arrays["input_ids"].shape[:1]
        return np.zeros((*shape, self._n_labels), dtype=np.float32)

    def describe(self) -> Mapping[str, str]:
        """Return nothing: no setting is in force."""
        return {}

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: no accelerator is used."""
        return {}

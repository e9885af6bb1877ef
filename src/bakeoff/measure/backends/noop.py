"""A backend that computes nothing: what it reads is the cost of the instrument itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.tokenizer import Batch
from bakeoff.record import Record


class Noop(Record):
    """Answers at once with zeros of the right shape.

    Attributes:
        precision: Of the zeros.
        device: Where they come from.
        threads: Accepted, as by every runtime; nothing uses them.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    build_libraries: ClassVar[tuple[str, ...]] = ()
    extras: ClassVar[tuple[str, ...]] = ()

    kind: Literal["noop"] = "noop"
    precision: Literal["fp32"] = "fp32"
    device: Literal["cpu"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def label(self) -> str:
        """Short name for tables."""
        return "noop"

    def require_installed(self) -> None:
        """Nothing is needed."""

    def import_libraries(self) -> None:
        """Nothing is imported."""

    def prepare_settings(self) -> dict[str, str] | None:
        """Nothing has to be made from the checkpoint first."""
        return None

    def load(
        self, checkpoint: Checkpoint, prepared: Path | None, *, is_verified: bool = False
    ) -> NoopSession:
        """Load nothing."""
        del prepared, is_verified
        return NoopSession(len(checkpoint.labels))

    def prepare(self, checkpoint: Checkpoint, folder: Path, texts: Sequence[Sequence[str]]) -> None:
        """Make nothing."""

    def model_size_bytes(self, prepared: Path | None, checkpoint: Checkpoint) -> int:
        """No file is loaded."""
        del prepared, checkpoint
        return 0


class NoopSession:
    """Zeros for every token and label."""

    def __init__(self, n_labels: int) -> None:
        self._n_labels = n_labels

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return zeros [documents, tokens, labels]."""
        return np.zeros((*batch.arrays["input_ids"].shape, self._n_labels), dtype=np.float32)

    def describe(self) -> Mapping[str, str]:
        """Nothing is in force."""
        return {}

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Nothing is used."""
        return {}

"""PyTorch eager: the checkpoint as transformers loads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.errors import CheckpointError, MissingExtraError
from bakeoff.measure.checkpoint import Checkpoint
from bakeoff.measure.encoding import Batch
from bakeoff.record import Record

if TYPE_CHECKING:
    import torch

SHOWN_KEYS = 3


class Torch(Record):
    """PyTorch eager mode.

    Attributes:
        precision: Of weights and arithmetic.
        device: ``cuda`` is written with care but has not been run: no such device was at hand.
        threads: Intra-op threads; null means all physical cores this process may use.
    """

    kind: Literal["torch"] = "torch"
    precision: Literal["fp32"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def label(self) -> str:
        """Short name for tables: ``torch-fp32``."""
        return f"{self.kind}-{self.precision}" + ("" if self.device == "cpu" else f"-{self.device}")

    @property
    def imports(self) -> tuple[str, ...]:
        """Libraries whose import is timed apart from loading."""
        return ("torch", "transformers")

    def prepare_settings(self) -> dict[str, str] | None:
        """Nothing has to be made from the checkpoint first."""
        return None

    def prepare(self, checkpoint: Checkpoint, folder: Path, texts: Sequence[Sequence[str]]) -> None:
        """Make nothing."""

    def load(self, checkpoint: Checkpoint, prepared: Path | None) -> TorchSession:
        """Load the checkpoint in eval mode.

        Raises:
            CheckpointError: Weights are missing or do not fit the architecture.
            MissingExtraError: torch or transformers is not installed.
        """
        del prepared
        model = load_model(checkpoint)
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return TorchSession(model.to(self.device), self.device)


def load_model(checkpoint: Checkpoint) -> Any:
    """A token-classification model in eval mode, refused unless every weight came from the checkpoint.

    Raises:
        CheckpointError: transformers would fill missing weights with random values in silence.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        import torch
        from transformers import AutoModelForTokenClassification
    except ImportError as error:
        raise MissingExtraError("the torch backend", library=error.name or "torch", extra="torch") from error
    from transformers.utils import logging as transformers_logging

    # It draws progress bars and prints its own load report; ours is the error below.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, info = AutoModelForTokenClassification.from_pretrained(
            str(checkpoint.folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed, and refused below by name
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            checkpoint.folder,
            found=f"transformers cannot load it ({error})",
            cure="check config.json against the weights",
        ) from error
    missing = sorted(info["missing_keys"]) + sorted(str(key[0]) for key in info["mismatched_keys"])
    if missing:
        shown = ", ".join(missing[:SHOWN_KEYS])
        if len(missing) > SHOWN_KEYS:
            shown += f" and {len(missing) - SHOWN_KEYS} more"
        raise CheckpointError(
            checkpoint.folder,
            found=f"weights missing or of another shape: {shown}",
            cure="random values would take their place; acquire or train the checkpoint again",
        )
    return model.eval()


class TorchSession:
    """A model on its device."""

    def __init__(self, model: Any, device: str) -> None:
        import inspect

        self._model = model
        self._device = device
        self._names = frozenset(inspect.signature(model.forward).parameters)

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits [documents, tokens, labels]; the copy to host waits for the device."""
        import torch

        with torch.inference_mode():
            inputs: dict[str, torch.Tensor] = {
                name: torch.from_numpy(array).to(self._device)
                for name, array in batch.arrays.items()
                if name in self._names
            }
            logits: NDArray[np.float32] = self._model(**inputs).logits.float().cpu().numpy()
            return logits

"""Open a model's folder by what a backend loads; nothing in it runs."""

from __future__ import annotations

from pathlib import Path

from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.row_model import RowModel, open_row_model
from bakeoff.measure.model.session import READS_ROWS, ModelKind


def open_model(folder: Path, kind: ModelKind) -> Checkpoint | RowModel:
    """Check the form of a folder.

    Args:
        folder: Folder of the model.
        kind: What a backend loads from it. It is given and not guessed: a checkpoint must never turn into
            code because of a file that lies in its folder.

    Raises:
        CheckpointError: A file is missing or broken.
    """
    return open_row_model(folder) if kind in READS_ROWS else open_checkpoint(folder)

"""Settings of the task and of the documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakeoff.measure.tasks import Task, TokenClassification
from bakeoff.record import Record


class DataSettings(Record):
    """Task of the models, and documents in JSON: one object per line, or one list in the file.

    Only ``sweep`` and the quality scenario need labels.

    Attributes:
        task: What the models do; it has the names of the fields.
        train: File for search and refit; only ``sweep`` needs it.
        test: Held-out file that models are scored on. Every stage that trains or measures needs it.
        max_length: Maximum tokens per document, in training and in measuring; the rest is cut off.
    """

    task: Task = TokenClassification()
    train: str | None = None
    test: str | None = None
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128

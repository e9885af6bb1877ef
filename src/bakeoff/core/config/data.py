"""Settings of the task and of the documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from bakeoff.measure.tasks import Task, TokenClassification
from bakeoff.record import Record

TaskKind = Literal["token_classification", "text_classification", "text_regression"]
DEFAULT_KIND: TaskKind = "token_classification"


class DataSettings(Record):
    """Task of the models, and documents in JSON: one object per line, or one list in the file.

    Only ``sweep`` and the quality scenario need labels.

    Attributes:
        task: What the models do, with the names of the fields. A kind alone stands for its defaults.
        train: File for search and refit; only ``sweep`` needs it.
        test: Held-out file that models are scored on. Every stage that trains or measures needs it.
        max_length: Maximum tokens per document, in training and in measuring; the rest is cut off.
    """

    task: Task = TokenClassification()
    train: str | None = None
    test: str | None = None
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128

    @field_validator("task", mode="before", json_schema_input_type=Task | TaskKind)
    @classmethod
    def _read_short_forms(cls, value: object) -> object:
        """Read a kind alone, and fields alone, which are those of token classification."""
        if isinstance(value, str):
            return {"kind": value}
        return {"kind": DEFAULT_KIND, **value} if isinstance(value, dict) else value

"""Settings of the task and of the documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from bakeoff.measure.tasks import Task, TokenClassification
from bakeoff.record import Record

DataFormat = Literal["jsonl", "json", "csv", "parquet", "datasets", "conll", "npz"]
TaskKind = Literal["token_classification", "text_classification", "text_regression", "tensors"]
DEFAULT_KIND: TaskKind = "token_classification"


class DataSettings(Record):
    """Task of the models, and documents in a file of a common format or in a folder that ``datasets`` saved.

    Only ``sweep`` and the quality scenario need labels.

    Attributes:
        task: What the models do, with the names of the fields. A kind alone stands for its defaults.
        train: File or folder for search and refit; only ``sweep`` needs it.
        test: Held-out file or folder that models are scored on. Every stage that trains or measures needs it.
        format: Format of both. `jsonl` and `json` read one JSON value a line or one JSON list. `csv` reads
            commas, semicolons or tabs. `datasets` reads a folder of `save_to_disk`. `conll` reads a word and
            its tag on each line. `npz` reads the arrays of `numpy.savez`, for the task `tensors`. Null takes
            the format from the suffix.
        max_length: Maximum tokens per document, in training and in measuring; the rest is cut off.
    """

    task: Task = TokenClassification()
    train: str | None = None
    test: str | None = None
    format: DataFormat | None = None
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128

    @field_validator("task", mode="before", json_schema_input_type=Task | TaskKind)
    @classmethod
    def _read_short_forms(cls, value: object) -> object:
        """Read a kind alone, and fields alone, which are those of token classification."""
        if isinstance(value, str):
            return {"kind": value}
        return {"kind": DEFAULT_KIND, **value} if isinstance(value, dict) else value

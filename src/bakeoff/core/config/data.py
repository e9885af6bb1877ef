"""Settings of the documents: files, names of fields, and scheme of the labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bakeoff.measure.tasks.label_schemes import Scheme
from bakeoff.record import Record

DataFormat = Literal["jsonl", "json", "csv", "parquet", "datasets", "conll"]


class DataSettings(Record):
    """Documents in a file of a common format, or in a folder that ``datasets`` saved.

    A document is a list of words with a list of tags, or a text with character spans. Only ``sweep`` and the
    quality scenario need the labels.

    Attributes:
        train: File or folder for search and refit; only ``sweep`` needs it.
        test: Held-out file or folder that champions are scored on. Every stage that trains or measures
            needs it.
        format: Format of both. `jsonl` and `json` read one JSON value a line or one JSON list. `csv` reads
            commas, semicolons or tabs. `datasets` reads a folder of `save_to_disk`. `conll` reads a word and
            its tag on each line. Null takes the format from the suffix.
        tokens_field: Field with the list of words.
        tags_field: Field with one tag per word.
        text_field: Field with the text, of documents without a list of words.
        annotations_field: Field with the spans of the text. Each is `[start, end, LABEL]` or an object with
            `start`, `end` and `label`.
        scheme: Scheme of the tags. `io` is a plain label per word, `iob2` is the same as `bio`. Null infers
            the scheme from the tags; ``doctor`` shows it.
        labels: Names of the labels if the tags are integers, such as `[O, PERSON]` for 0 and 1.
        max_length: Maximum tokens per document, in training and in measuring; the rest is cut off.
    """

    train: str | None = None
    test: str | None = None
    format: DataFormat | None = None
    tokens_field: str = "tokens"
    tags_field: str = "ner_tags"
    text_field: str = "text"
    annotations_field: str = "annotations"
    scheme: Scheme | None = None
    labels: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128

"""Documents as the tasks read them: words with tags, texts with a label or number, rows, or tensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue

from bakeoff.record import Record


class TaggedDocument(Record):
    """A text, split into words.

    Attributes:
        tags: One tag per word, with the prefixes of `bio`, `iob1` or `bioes`; empty without labels.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether it has tags."""
        return bool(self.tags)

    @property
    def length(self) -> int:
        """Number of words."""
        return len(self.tokens)

    @property
    def inputs(self) -> Any:
        """What a model reads of it, as JSON."""
        return list(self.tokens)

    @property
    def content(self) -> Any:
        """The whole document as JSON, for digests."""
        return [self.inputs, *([list(self.tags)] if self.tags else [])]


class TextDocument(Record):
    """A text, or two that belong together.

    Attributes:
        second: Second text of a pair.
        labels: Its label, or labels; None without. An empty tuple is a document to which no label applies.
        number: Its number, in a regression; None without.
    """

    text: str
    second: str | None = None
    labels: tuple[str, ...] | None = None
    number: float | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether it has labels or a number."""
        return self.labels is not None or self.number is not None

    @cached_property
    def length(self) -> int:
        """Number of words, as white space separates them."""
        return len(self.text.split()) + len((self.second or "").split())

    @property
    def inputs(self) -> Any:
        """What a model reads of it, as JSON."""
        return [self.text] if self.second is None else [self.text, self.second]

    @property
    def content(self) -> Any:
        """The whole document as JSON, for digests."""
        return {
            "text": self.inputs,
            **({} if self.labels is None else {"labels": list(self.labels)}),
            **({} if self.number is None else {"number": self.number}),
        }


class RowDocument(Record):
    """A row of a data file as it is."""

    row: Mapping[str, JsonValue]

    @property
    def is_labelled(self) -> bool:
        """Whether it can be judged: yes, since the function of the task decides how."""
        return True

    @cached_property
    def length(self) -> int:
        """Number of words in its texts."""
        return sum(len(value.split()) for value in self.row.values() if isinstance(value, str))

    @property
    def inputs(self) -> Any:
        """What a model reads of it, as JSON: the whole row."""
        return dict(self.row)

    @property
    def content(self) -> Any:
        """The whole document as JSON, for digests."""
        return dict(self.row)


class TensorDocument(Record):
    """A row of a file of arrays; the arrays stay in the file.

    Attributes:
        path: File; where it lies is not part of any identity.
        digest: Digest of all arrays of the file.
        row: Number of the row, from 0.
    """

    path: Path
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    row: Annotated[int, Field(ge=0)]

    @property
    def is_labelled(self) -> bool:
        """Whether it has labels: no."""
        return False

    @property
    def length(self) -> int:
        """Length for the order of inputs: the same for every row."""
        return 1

    @property
    def inputs(self) -> Any:
        """What a model reads of it, as JSON: content of the file, and row."""
        return [self.digest, self.row]

    @property
    def content(self) -> Any:
        """The whole document as JSON, for digests."""
        return self.inputs


Document = TaggedDocument | TextDocument | RowDocument | TensorDocument

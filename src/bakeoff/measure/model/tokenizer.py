"""Encoding of words and decoding of tags: the same code for training, quality and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.errors import MissingExtraError
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.tasks.label_schemes import OUTSIDE

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Batch:
    """One batch in the form that every runtime takes.

    Attributes:
        arrays: ``input_ids``, ``attention_mask`` and ``token_type_ids``, each int64 [documents, tokens].
        n_tokens: Tokens without padding.
    """

    arrays: dict[str, NDArray[np.int64]]
    n_tokens: int

    @property
    def n_padded_tokens(self) -> int:
        """Number of tokens with padding, as the model computes them."""
        return int(self.arrays["input_ids"].size)


@dataclass(frozen=True)
class Encoding:
    """One document as token ids; ``first_tokens[i]`` is the first token of word i, None if it was cut off."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    first_tokens: tuple[int | None, ...]

    @property
    def is_truncated(self) -> bool:
        """Whether words at the end did not fit."""
        return any(position is None for position in self.first_tokens)


class Encoder:
    """Fast tokenizer of a checkpoint, without the transformers library.

    Args:
        checkpoint: Checkpoint with the tokenizer file.
        max_length: Tokens, special ones included, after which a document is cut; the model's own maximum
            applies too.
    """

    def __init__(self, checkpoint: Checkpoint, max_length: int) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtraError("encoding text", library="tokenizers", extra="onnx") from error
        self._tokenizer = Tokenizer.from_file(str(checkpoint.tokenizer_file))
        # A tokenizer file may set its own padding; pad() pads to the longest of the batch instead.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(checkpoint.token_limit(max_length))
        self._pad_token_id = checkpoint.pad_token_id

    def encode(self, tokens: Sequence[str]) -> Encoding:
        """Encode one document that is already split into words."""
        encoded = self._tokenizer.encode(list(tokens), is_pretokenized=True)
        first_tokens: list[int | None] = [None] * len(tokens)
        for position, word in enumerate(encoded.word_ids):
            if word is not None and first_tokens[word] is None:
                first_tokens[word] = position
        return Encoding(tuple(encoded.ids), tuple(encoded.type_ids), tuple(first_tokens))

    def pad(self, encodings: Sequence[Encoding]) -> Batch:
        """Pad documents to the longest of them."""
        shape = (len(encodings), max(len(encoding.ids) for encoding in encodings))
        ids = np.full(shape, self._pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        types = np.zeros(shape, dtype=np.int64)
        for row, encoding in enumerate(encodings):
            length = len(encoding.ids)
            ids[row, :length] = encoding.ids
            mask[row, :length] = 1
            types[row, :length] = encoding.type_ids
        return Batch(dict(zip(INPUT_NAMES, (ids, mask, types), strict=True)), n_tokens=int(mask.sum()))


def read_tags(
    logits: NDArray[np.floating], encodings: Sequence[Encoding], labels: Sequence[str]
) -> list[list[str]]:
    """Return the tag of each word: the best label at its first token; O for words that were cut off.

    Args:
        logits: Array [documents, tokens, labels].
        encodings: Documents in the order of the rows.
        labels: Name of each output.
    """
    best = logits.argmax(axis=-1)
    return [
        [OUTSIDE if at is None else labels[best[row, at]] for at in encoding.first_tokens]
        for row, encoding in enumerate(encodings)
    ]

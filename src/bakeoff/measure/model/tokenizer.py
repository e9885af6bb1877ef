"""Encoding of words and texts: the same code for training, quality and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.errors import CheckpointError, MissingExtraError
from bakeoff.measure.model.checkpoint import Checkpoint

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
MAX_TOKENIZER_BYTES = 1 << 29  # ten times the largest that is known, of 262,000 tokens
# A long text is first cut to so many characters a token; one of English has four to five, of Chinese one.
_CHARACTERS_PER_TOKEN = 16
# The tokens that are kept are those of the whole text if they end so many characters before the cut, and if
# so many tokens or words stand between. A cut changes the word that it divides. In a text without words it
# changes the tokens around it, and those of known vocabularies have at most 256 characters.
_MARGIN = 1024
_N_TOKENS_BETWEEN, _N_WORDS_BETWEEN = 256, 2
_N_TOKENS_AFTER = 8  # of a text in a pair; whether its tokens stay the same is tried then
_GROWTH = 4


@dataclass(frozen=True)
class Batch:
    """One batch in the form that every runtime takes.

    Attributes:
        arrays: ``input_ids``, ``attention_mask`` and, if the model has token types, ``token_type_ids``, each
            int64 [documents, tokens]; or tensors that you give, each [documents, ...] with its own dtype.
        n_tokens: Tokens without padding; the number of documents if there are no tokens.
    """

    arrays: dict[str, NDArray[Any]]
    n_tokens: int

    @property
    def n_padded_tokens(self) -> int:
        """Number of tokens with padding, as the model computes them; of documents if there are no tokens."""
        ids = self.arrays.get(INPUT_NAMES[0])
        return int(ids.size) if ids is not None else len(next(iter(self.arrays.values())))


@dataclass(frozen=True)
class Encoding:
    """One document as token ids, or as the number of its row.

    Attributes:
        first_tokens: First token of each word, None if it was cut off; empty if a text is encoded as a whole.
        is_cut: Whether the end of a text did not fit.
    """

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    first_tokens: tuple[int | None, ...] = ()
    is_cut: bool = False

    @property
    def is_truncated(self) -> bool:
        """Whether words at the end did not fit."""
        return self.is_cut or any(position is None for position in self.first_tokens)


class Encoder:
    """Fast tokenizer of a checkpoint, without the transformers library.

    Args:
        checkpoint: Checkpoint with the tokenizer file.
        max_length: Tokens, special ones included, after which a document is cut; the model's own maximum
            applies too.
        tokenizer: Tokenizer of the ``tokenizers`` library to use instead of the file.

    Raises:
        CheckpointError: The tokenizer file is broken, or has tokens that the model does not know.
    """

    def __init__(self, checkpoint: Checkpoint, max_length: int, tokenizer: Any = None) -> None:
        self._tokenizer = read_tokenizer(checkpoint) if tokenizer is None else tokenizer
        # A tokenizer file may set its own padding; pad() pads to the longest of the batch instead.
        self._tokenizer.no_padding()
        limit = checkpoint.token_limit(max_length)
        self._tokenizer.enable_truncation(limit)
        self._n_first_characters = limit * _CHARACTERS_PER_TOKEN + _MARGIN
        self._pad_token_id = checkpoint.pad_token_id
        self._names = INPUT_NAMES if checkpoint.has_token_types else INPUT_NAMES[:2]

    def encode(self, tokens: Sequence[str]) -> Encoding:
        """Encode one document that is already split into words."""
        encoded = self._encode_words(list(tokens))
        first_tokens: list[int | None] = [None] * len(tokens)
        for position, word in enumerate(encoded.word_ids):
            if word is not None and first_tokens[word] is None:
                first_tokens[word] = position
        return Encoding(tuple(encoded.ids), tuple(encoded.type_ids), tuple(first_tokens))

    def encode_text(self, text: str, second: str | None = None) -> Encoding:
        """Encode one text, or a pair of texts; of a pair that is too long, the longer one is cut."""
        if second is None:
            encoded = self._tokenizer.encode(self._cut_text(text))
        else:
            encoded = self._tokenizer.encode(self._cut_pair_text(text), self._cut_pair_text(second))
        return Encoding(tuple(encoded.ids), tuple(encoded.type_ids), is_cut=bool(encoded.overflowing))

    def _encode_words(self, words: list[str]) -> Any:
        """Encode words: of many, as many as fill the limit. The tokens of a word depend on no later one."""
        size = self._n_first_characters
        if sum(map(len, words)) + len(words) <= size:
            return self._tokenizer.encode(words, is_pretokenized=True)
        while True:
            n_words, n_characters = 0, 0
            while n_words < len(words) and n_characters < size:
                n_characters += len(words[n_words]) + 1
                n_words += 1
            first = [self._cut_text(word, is_word=True) for word in words[:n_words]]
            encoded = self._tokenizer.encode(first, is_pretokenized=True)
            if n_words == len(words) or encoded.overflowing:
                return encoded
            size *= _GROWTH

    def _cut_text(self, text: str, *, is_word: bool = False) -> str:
        """Cut a long text after enough characters, so that the tokens up to the limit stay the same.

        The tokenizer would read the text to its end before it cuts the tokens. Blanks and unknown words may
        be long and give no token or one. Then more of the text is taken.
        """
        size = self._n_first_characters
        while size < len(text):
            part = text[:size]
            encoded = self._tokenizer.encode([part] if is_word else part, is_pretokenized=is_word)
            if _is_settled(encoded, size):
                return part
            size *= _GROWTH
        return text

    def _cut_pair_text(self, text: str) -> str:
        """Cut a long text of a pair soon after the tokens that are kept of it.

        The tokenizer combines each part that it cuts off of one text with each part of the other. Two texts
        of a megabyte would take all memory.
        """
        if len(text) <= self._n_first_characters:
            return text
        text = self._cut_text(text)
        encoded = self._tokenizer.encode(text)
        ends = [end for part in encoded.overflowing for _, end in part.offsets if end]
        for place in range(_N_TOKENS_AFTER, len(ends), len(encoded.ids)):
            shorter = self._tokenizer.encode(text[: ends[place]])
            if shorter.ids == encoded.ids and shorter.overflowing:
                return text[: ends[place]]
        return text

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
        arrays = dict(zip(INPUT_NAMES, (ids, mask, types), strict=True))
        return Batch({name: arrays[name] for name in self._names}, n_tokens=int(mask.sum()))


def _is_settled(encoded: Any, n_characters: int) -> bool:
    """Return whether the kept tokens of the beginning of a text are those of the whole text."""
    kept_end = max((end for _, end in encoded.offsets), default=0)
    if not encoded.overflowing or kept_end + _MARGIN > n_characters:
        return False
    kept = [word for word in encoded.word_ids if word is not None]
    more = [word for part in encoded.overflowing for word in part.word_ids if word is not None]
    n_words = max(more, default=0) - max(kept, default=0)
    return n_words >= _N_WORDS_BETWEEN or len(more) >= _N_TOKENS_BETWEEN


def read_tokenizer(checkpoint: Checkpoint) -> Any:
    """Read the fast tokenizer of a checkpoint.

    Raises:
        CheckpointError: The file is broken, too large, or has tokens that the model does not know.
        MissingExtraError: The library ``tokenizers`` is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("encoding text", library="tokenizers", extra="onnx") from error
    name = checkpoint.tokenizer_file.name
    size_bytes = checkpoint.tokenizer_file.stat().st_size
    if size_bytes > MAX_TOKENIZER_BYTES:
        raise CheckpointError(
            checkpoint.folder,
            found=f"{name} has {size_bytes:,} bytes; at most {MAX_TOKENIZER_BYTES:,} are allowed",
            fix="save the tokenizer again",
        )
    try:
        tokenizer = Tokenizer.from_file(str(checkpoint.tokenizer_file))
    except Exception as error:  # the library raises Exception itself
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            checkpoint.folder, found=f"{name} cannot be read ({reason})", fix="save the tokenizer again"
        ) from error
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if checkpoint.vocab_size is not None and largest >= checkpoint.vocab_size:
        raise CheckpointError(
            checkpoint.folder,
            found=f"{name} has the token id {largest}, but the model knows {checkpoint.vocab_size} ids "
            "(vocab_size)",
            fix="save the tokenizer that the model was trained with, or call "
            "model.resize_token_embeddings(len(tokenizer)) and train it again",
        )
    return tokenizer

"""The promoted model as MLflow serves it: text in, entities out, through the measured runtime.

MLflow loads it by the name of this module (``loader_module``), from the copy of bakeoff in every promoted
model. So the measured code answers, and nothing is unpickled. The folder of its data holds

serving.json     a ServedModel
checkpoint/      the checkpoint, as the refit logged it
prepared/        files that the backend made from it, if any
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from bakeoff.disk import durable
from bakeoff.disk.digest import digest_folder, list_files, shorten
from bakeoff.disk.folders import COMPLETE_MARKER
from bakeoff.errors import CheckpointError, DataError
from bakeoff.measure.backends import Backend
from bakeoff.measure.model.checkpoint import Checkpoint, open_verified_checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Encoder, read_tags
from bakeoff.measure.tasks.label_schemes import Scheme, read_entities
from bakeoff.record import Record

LIBRARIES = ("filelock", "numpy", "pydantic", "rfc8785", "seqeval", "tokenizers")
SETTINGS_FILE = "serving.json"
TEXT, TOKENS = "text", "tokens"
# Not a text of the evaluation: more people read a registry than the evaluation data.
EXAMPLE_TEXT = "Book a table for two in Paris tomorrow evening"
_CHECKPOINT, _PREPARED = "checkpoint", "prepared"
_FIX = "promote it again, or restore the uploaded files"
_WORD = re.compile(r"\S+")


class ServedModel(Record):
    """The served model and its runtime.

    Attributes:
        runtime: Runtime as measured, with its threads.
        max_length: Number of tokens after which a text is cut, as in training and measuring.
        checkpoint_digest: Digest of the folder ``checkpoint``, as the refit recorded it.
        prepared_digest: Digest of the folder ``prepared``; None if the backend makes nothing.
    """

    format_version: Literal[1] = 1
    runtime: Backend
    max_length: int
    checkpoint_digest: str
    prepared_digest: str | None


class ServingOptions(Record):
    """Options at loading (MLflow's ``model_config``); with the defaults, all is as measured.

    Attributes:
        threads: Threads of the runtime; None keeps the measured number.
        batch_size: Number of texts of one request that are computed together. Alone, a text gets the same
            answer in every request; in eight bits the other texts of a batch change it a little.
    """

    threads: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1


class Word(NamedTuple):
    """A word and its place: characters from ``start`` up to, not including, ``end``."""

    text: str
    start: int
    end: int


def split_words(text: str) -> tuple[Word, ...]:
    """Split a text into words at white space; punctuation stays part of a word.

    The training texts are lists of words. Joined by blanks they split into the same words here. If a corpus
    sets punctuation apart, the text must set it apart, too.
    """
    return tuple(Word(match.group(), *match.span()) for match in _WORD.finditer(text))


def join_words(tokens: Iterable[str]) -> tuple[str, tuple[Word, ...]]:
    """Join words by blanks, and return the text and the place of each word in it."""
    words: list[Word] = []
    start = 0
    for token in tokens:
        words.append(Word(token, start, start + len(token)))
        start += len(token) + 1
    return " ".join(word.text for word in words), tuple(words)


class EntityTagger:
    """Answers texts with their entities; requests of several threads wait for each other.

    Args:
        session: The loaded model.
        checkpoint: Its checkpoint, with the labels.
        max_length: Number of tokens after which a text is cut.
        batch_size: Number of texts computed together.
    """

    def __init__(
        self, session: Session, checkpoint: Checkpoint, *, max_length: int, batch_size: int = 1
    ) -> None:
        self._session = session
        self._labels, self._scheme = checkpoint.labels, checkpoint.scheme
        self._encoder = Encoder(checkpoint, max_length)
        self._batch_size = batch_size
        self._lock = Lock()

    def predict(self, data: Mapping[str, Iterable[object]]) -> list[dict[str, Any]]:
        """Answer the rows of a table: MLflow calls this with a pandas DataFrame.

        Args:
            data: Column ``text`` with strings, or column ``tokens`` with lists of words; these are not split
                again.

        Returns:
            One answer a row. ``entities`` lists type, text, ``start`` and ``end`` in characters, and the
            numbers of the first and last word, from 0. If the row held words, characters count in the words
            joined by blanks. ``truncated`` means that the end of the text did not fit and was ignored.

        Raises:
            DataError: A row holds neither a text nor words, or both.
        """
        texts = _read_rows(data)
        tags: list[list[str]] = [[] for _ in texts]
        is_cut = [False] * len(texts)
        busy = [row for row, (_, words) in enumerate(texts) if words]
        for start in range(0, len(busy), self._batch_size):
            rows = busy[start : start + self._batch_size]
            encodings = [self._encoder.encode([word.text for word in texts[row][1]]) for row in rows]
            with self._lock:  # a session answers one call at a time, as it was measured
                logits = self._session.infer(self._encoder.pad(encodings))
            found = read_tags(logits, encodings, self._labels)
            for row, encoding, row_tags in zip(rows, encodings, found, strict=True):
                tags[row], is_cut[row] = row_tags, encoding.is_truncated
        return [
            {"entities": _place_entities(text, words, row_tags, self._scheme), "truncated": cut}
            for (text, words), row_tags, cut in zip(texts, tags, is_cut, strict=True)
        ]


def write_served_model(folder: Path, served: ServedModel, checkpoint: Path, prepared: Path | None) -> None:
    """Fill a folder with all that ``load_served_model`` needs, and check the copies.

    Args:
        folder: New folder.
        served: Record with the digests that the copies must have.
        checkpoint: Folder of the checkpoint.
        prepared: Folder that the backend made from it.

    Raises:
        CheckpointError: A copy differs from the measured files.
    """
    _copy(checkpoint, folder / _CHECKPOINT)
    if prepared is not None:
        _copy(prepared, folder / _PREPARED)
    durable.write_json(folder / SETTINGS_FILE, served.model_dump(mode="json"))
    _open_parts(folder, served)


def load_served_model(folder: Path, options: ServingOptions | None = None) -> EntityTagger:
    """Load a folder of ``write_served_model``, provided that no byte has changed.

    Raises:
        CheckpointError: A file is missing, broken or changed.
        MissingExtraError: A library of the runtime is not installed.
        UnsupportedRuntimeError: This machine cannot run the runtime.
    """
    options = options or ServingOptions()
    served = _read_settings(folder)
    checkpoint, prepared = _open_parts(folder, served)
    runtime = served.runtime
    if options.threads is not None:
        runtime = runtime.replace(threads=options.threads)
    return EntityTagger(
        runtime.load(checkpoint, prepared),
        checkpoint,
        max_length=served.max_length,
        batch_size=options.batch_size,
    )


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> EntityTagger:
    """Load the model for MLflow, which calls this function by its name."""
    try:
        options = ServingOptions.model_validate(dict(model_config or {}))
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise DataError(
            f"model_config: {field}", found=f"{fault['input']!r:.80}", expected=fault["msg"]
        ) from None
    return load_served_model(Path(data_path), options)


def _read_settings(folder: Path) -> ServedModel:
    path = folder / SETTINGS_FILE
    try:
        return ServedModel.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            folder, found=f"no readable {SETTINGS_FILE} ({error.strerror})", fix=_FIX
        ) from None
    except ValidationError as error:
        found = f"{SETTINGS_FILE} is not a whole record ({error.errors()[0]['msg']})"
        raise CheckpointError(folder, found=found, fix=_FIX) from None


def _open_parts(folder: Path, served: ServedModel) -> tuple[Checkpoint, Path | None]:
    checkpoint = open_verified_checkpoint(folder / _CHECKPOINT, served.checkpoint_digest)
    if served.prepared_digest is None:
        return checkpoint, None
    prepared = folder / _PREPARED
    found = digest_folder(prepared)
    if found != served.prepared_digest:
        raise CheckpointError(
            prepared,
            found=f"its content has digest {shorten(found)}; promoted was {shorten(served.prepared_digest)}",
            fix=_FIX,
        )
    return checkpoint, prepared


def _copy(source: Path, destination: Path) -> None:
    for name, path in list_files(source).items():
        if name != COMPLETE_MARKER:  # the marker belongs to the cache
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _read_rows(data: Mapping[str, Iterable[object]]) -> list[tuple[str, tuple[Word, ...]]]:
    columns = {name: list(data[name]) for name in (TEXT, TOKENS) if name in data}
    if not columns:  # MLflow drops columns that the signature does not name
        raise DataError("request", found="no column text or tokens", expected="one of them")
    blanks = [None] * max(map(len, columns.values()))
    rows = zip(columns.get(TEXT, blanks), columns.get(TOKENS, blanks), strict=True)
    return [_read_row(number, text, tokens) for number, (text, tokens) in enumerate(rows)]


def _read_row(number: int, text: object, tokens: object) -> tuple[str, tuple[Word, ...]]:
    words = _read_tokens(tokens)
    if isinstance(text, str) and words is None:
        return text, split_words(text)
    if words is not None and not isinstance(text, str):
        return join_words(words)
    found = "neither text nor tokens" if words is None else "both text and tokens"
    raise DataError(f"row {number}", found=found, expected="one of them: a string, or a list of words")


def _read_tokens(tokens: object) -> list[str] | None:
    """Return the words of a cell, or None without a list of words: pandas fills empty cells with NaN."""
    if isinstance(tokens, str) or not isinstance(tokens, Iterable):
        return None
    words = list(tokens)
    return words if all(isinstance(word, str) for word in words) else None


def _place_entities(
    text: str, words: Sequence[Word], tags: Sequence[str], scheme: Scheme
) -> list[dict[str, Any]]:
    return [
        {
            "type": kind,
            "text": text[words[first].start : words[last].end],
            "start": words[first].start,
            "end": words[last].end,
            "first_word": first,
            "last_word": last,
        }
        for kind, first, last in read_entities(tags, scheme)
    ]

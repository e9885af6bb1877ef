"""The promoted model as MLflow serves it: text in, entities out, through the runtime that was measured.

MLflow loads it by the name of this module (``loader_module``), from the copy of bakeoff that every promoted
model carries: the code that answers is the code that was measured, and nothing is unpickled. The folder of
its data holds

serving.json     a ServedModel
checkpoint/      the checkpoint, as the refit logged it
prepared/        what the backend made from it, where it makes anything
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
from bakeoff.measure.tasks.token_classification import read_entities
from bakeoff.record import Record

LIBRARIES = ("filelock", "numpy", "pydantic", "rfc8785", "seqeval", "tokenizers")
SETTINGS_FILE = "serving.json"
TEXT, TOKENS = "text", "tokens"
# No text of the evaluation: a model in a registry is read by more people than the data it was judged on.
EXAMPLE_TEXT = "Book a table for two in Paris tomorrow evening"
_CHECKPOINT, _PREPARED = "checkpoint", "prepared"
_FIX = "promote it again, or restore what was uploaded"
_WORD = re.compile(r"\S+")


class ServedModel(Record):
    """What is served, and how.

    Attributes:
        runtime: As it was measured, its threads too.
        max_length: Tokens after which a text is cut, as in training and measuring.
        checkpoint_digest: Of the folder ``checkpoint``, as the refit recorded it.
        prepared_digest: Of the folder ``prepared``; None where the backend makes nothing.
    """

    format_version: Literal[1] = 1
    runtime: Backend
    max_length: int
    checkpoint_digest: str
    prepared_digest: str | None


class ServingOptions(Record):
    """What may be set where the model is loaded (MLflow's ``model_config``); no answer depends on it.

    Attributes:
        threads: Of the runtime; None leaves them as they were measured.
        batch_size: Texts of one request that are computed together. Alone, a text is never answered by what
            it shares a request with, which in eight bits decides a little.
    """

    threads: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1


class Word(NamedTuple):
    """A word and where it stands: characters from ``start`` up to, not including, ``end``."""

    text: str
    start: int
    end: int


def split_words(text: str) -> tuple[Word, ...]:
    """The words of a text: whatever stands between white space, punctuation included.

    The models are trained on texts that come as lists of words. Joined by blanks these are split here into
    the same words; a corpus that sets punctuation apart wants it apart in the text too.
    """
    return tuple(Word(match.group(), *match.span()) for match in _WORD.finditer(text))


def join_words(tokens: Iterable[str]) -> tuple[str, tuple[Word, ...]]:
    """The text of words joined by blanks, and where each of them stands in it."""
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
        checkpoint: Where it came from; names the labels.
        max_length: Tokens after which a text is cut.
        batch_size: Texts computed together.
    """

    def __init__(
        self, session: Session, checkpoint: Checkpoint, *, max_length: int, batch_size: int = 1
    ) -> None:
        self._session = session
        self._labels = checkpoint.labels
        self._encoder = Encoder(checkpoint, max_length)
        self._batch_size = batch_size
        self._lock = Lock()

    def predict(self, data: Mapping[str, Iterable[object]]) -> list[dict[str, Any]]:
        """Answer the rows of a table: MLflow calls this with a pandas DataFrame.

        Args:
            data: Column ``text``: strings, or column ``tokens``: lists of words that are not split again.

        Returns:
            One answer a row. ``entities`` lists type, text, ``start`` and ``end`` in characters of the text
            (of the words joined by blanks, where words were given), and the numbers of the first and last
            word, from 0.
            ``truncated`` says that the end of the text did not fit and was not looked at.

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
            {"entities": _place_entities(text, words, row_tags), "truncated": cut}
            for (text, words), row_tags, cut in zip(texts, tags, is_cut, strict=True)
        ]


def write_served_model(folder: Path, served: ServedModel, checkpoint: Path, prepared: Path | None) -> None:
    """Fill a folder with all that ``load_served_model`` needs, and check what was copied.

    Args:
        folder: Made here.
        served: With the digests that the copies must have.
        checkpoint: Folder of the checkpoint.
        prepared: What the backend made from it.

    Raises:
        CheckpointError: What was copied is not what was measured.
    """
    _copy(checkpoint, folder / _CHECKPOINT)
    if prepared is not None:
        _copy(prepared, folder / _PREPARED)
    durable.write_json(folder / SETTINGS_FILE, served.model_dump(mode="json"))
    _open_parts(folder, served)


def load_served_model(folder: Path, options: ServingOptions | None = None) -> EntityTagger:
    """Load what ``write_served_model`` wrote, if not a byte of it has changed.

    Raises:
        CheckpointError: Something is missing, broken or changed.
        MissingExtraError: A library of the runtime is not installed.
        UnsupportedRuntimeError: This machine cannot run the runtime.
    """
    options = options or ServingOptions()
    served = _read_settings(folder)
    checkpoint, prepared = _open_parts(folder, served)
    runtime = served.runtime
    if options.threads is not None:
        runtime = runtime.model_copy(update={"threads": options.threads})
    return EntityTagger(
        runtime.load(checkpoint, prepared),
        checkpoint,
        max_length=served.max_length,
        batch_size=options.batch_size,
    )


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> EntityTagger:
    """What MLflow calls, by this name."""
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
        found = f"{SETTINGS_FILE} is no whole record ({error.error_count()} faults)"
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
            found=f"its content has digest {shorten(found)}, promoted was {shorten(served.prepared_digest)}",
            fix=_FIX,
        )
    return checkpoint, prepared


def _copy(source: Path, destination: Path) -> None:
    for name, path in list_files(source).items():
        if name != COMPLETE_MARKER:  # of the cache that the folder lies in
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _read_rows(data: Mapping[str, Iterable[object]]) -> list[tuple[str, tuple[Word, ...]]]:
    columns = {name: list(data[name]) for name in (TEXT, TOKENS) if name in data}
    if not columns:  # MLflow leaves out what the signature does not name
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
    """The words of a cell, or None where it holds no list of words: pandas fills what is absent with NaN."""
    if isinstance(tokens, str) or not isinstance(tokens, Iterable):
        return None
    words = list(tokens)
    return words if all(isinstance(word, str) for word in words) else None


def _place_entities(text: str, words: Sequence[Word], tags: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "type": kind,
            "text": text[words[first].start : words[last].end],
            "start": words[first].start,
            "end": words[last].end,
            "first_word": first,
            "last_word": last,
        }
        for kind, first, last in read_entities(tags)
    ]

"""The promoted model as MLflow serves it: rows in, answers of its task out, through the measured runtime.

MLflow loads it by the name of this module (``loader_module``), from the copy of bakeoff in every promoted
model. So the measured code answers, and nothing is unpickled. The folder of its data holds

serving.json     a ServedModel
checkpoint/      the checkpoint, as the refit logged it
prepared/        files that the backend made from it, if any
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from bakeoff.disk import durable
from bakeoff.disk.digest import digest_folder, list_files, shorten
from bakeoff.disk.folders import COMPLETE_MARKER
from bakeoff.disk.inputs import MAX_RECORD_BYTES, read_regular
from bakeoff.errors import CheckpointError, DataError
from bakeoff.measure.backends import TensorBackend
from bakeoff.measure.model.checkpoint import Checkpoint, open_verified_checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.tasks import Task
from bakeoff.measure.tasks.served import Request, RequestLimits, read_table
from bakeoff.record import Record

LIBRARIES = ("filelock", "numpy", "pydantic", "rfc8785", "seqeval", "tokenizers")
SETTINGS_FILE = "serving.json"
_CHECKPOINT, _PREPARED = "checkpoint", "prepared"
_FIX = "promote it again, or restore the uploaded files"


class ServedModel(Record):
    """The served model and its runtime.

    Attributes:
        runtime: Runtime as measured, with its threads.
        task: Task as measured.
        max_length: Number of tokens after which a text is cut, as in training and measuring.
        checkpoint_digest: Digest of the folder ``checkpoint``, as the refit recorded it.
        prepared_digest: Digest of the folder ``prepared``; None if the backend makes nothing.
    """

    format_version: Literal[2] = 2
    runtime: TensorBackend = Field(discriminator="kind")
    task: Task
    max_length: int
    checkpoint_digest: str
    prepared_digest: str | None


class ServingOptions(Record):
    """Options at loading (MLflow's ``model_config``); with the defaults, all is as measured.

    Attributes:
        threads: Threads of the runtime; None keeps the measured number.
        batch_size: Number of texts of one request that are computed together. Alone, a text gets the same
            answer in every request; in eight bits the other texts of a batch change it a little.
        max_rows: Most rows of a request; a larger one is refused.
        max_characters: Most characters of a text, or of its words; a longer one is refused. A shorter one is
            cut at the token limit as ever.
        max_tokens: Number of tokens after which a text is cut, if less than measured; None cuts as measured.
    """

    threads: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    max_rows: Annotated[int, Field(ge=1)] = 10_000
    max_characters: Annotated[int, Field(ge=1)] = 1_000_000
    max_tokens: Annotated[int, Field(ge=8)] | None = None


DEFAULTS = ServingOptions()


class Predictor:
    """Answers rows by the task of the model; requests of several threads wait for each other.

    Args:
        task: Task of the model.
        session: The loaded model.
        checkpoint: Its checkpoint, with the labels.
        max_length: Number of tokens after which a text is cut, as measured.
        options: Limits of a request, and number of texts computed together.
    """

    def __init__(
        self,
        task: Task,
        session: Session,
        checkpoint: Checkpoint,
        *,
        max_length: int,
        options: ServingOptions = DEFAULTS,
    ) -> None:
        self._task = task
        self._session = session
        self._labels = task.name_outputs(checkpoint.labels)
        self._encoder = Encoder(checkpoint, min(max_length, options.max_tokens or max_length))
        self._limits = RequestLimits(options.max_rows, options.max_characters)
        self._batch_size = options.batch_size
        self._lock = Lock()

    def predict(self, data: Mapping[str, Iterable[object]]) -> list[dict[str, Any]]:
        """Answer the rows of a table: MLflow calls this with a pandas DataFrame.

        Args:
            data: Values by column: ``text``; ``tokens`` with lists of words for token classification;
                ``text_pair`` with the second text of a pair.

        Returns:
            One answer a row, as the task writes it. ``truncated`` means that the end of the text did not fit
            and was ignored.

        Raises:
            DataError: A row holds no document of the task, or the request is too large.
        """
        table = read_table(data, self._task.request_columns, self._limits)
        answers: list[dict[str, Any]] = []
        for start in range(0, len(table), self._batch_size):
            rows = enumerate(table[start : start + self._batch_size], start)
            answers += self._answer([self._task.read_request(number, row) for number, row in rows])
        return answers

    def _answer(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """Answer rows together; those with nothing to read need no model."""
        encodings = [
            None if each.document is None else self._task.encode(self._encoder, each.document)
            for each in requests
        ]
        read = [encoding for encoding in encodings if encoding is not None]
        outputs: Iterator[Any] = iter(())
        if read:
            with self._lock:  # a session answers one call at a time, as it was measured
                outputs = iter(self._session.infer(self._encoder.pad(read)))
        return [
            self._task.write_answer(
                request, encoding, None if encoding is None else next(outputs), self._labels
            )
            for request, encoding in zip(requests, encodings, strict=True)
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
    copy_files(checkpoint, folder / _CHECKPOINT)
    if prepared is not None:
        copy_files(prepared, folder / _PREPARED)
    durable.write_json(folder / SETTINGS_FILE, served.model_dump(mode="json"))
    _open_parts(folder, served)


def load_served_model(folder: Path, options: ServingOptions | None = None) -> Predictor:
    """Load a folder of ``write_served_model``, provided that no byte has changed.

    Raises:
        CheckpointError: A file is missing, broken or changed.
        MissingExtraError: A library of the runtime is not installed.
        UnsupportedRuntimeError: This machine cannot run the runtime.
    """
    options = options or DEFAULTS
    if options.threads is not None and options.threads > (usable := _count_cpus()):
        raise DataError(
            "model_config: threads",
            found=str(options.threads),
            expected=f"at most {usable}, the CPUs that this process may use",
        )
    served = _read_settings(folder)
    checkpoint, prepared = _open_parts(folder, served)
    runtime = served.runtime
    if options.threads is not None:
        runtime = runtime.replace(threads=options.threads)
    return Predictor(
        served.task,
        runtime.load(checkpoint, prepared),
        checkpoint,
        max_length=served.max_length,
        options=options,
    )


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> Predictor:
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


def _count_cpus() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _read_settings(folder: Path) -> ServedModel:
    path = folder / SETTINGS_FILE
    try:
        return ServedModel.model_validate_json(read_regular(path, MAX_RECORD_BYTES))
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


def copy_files(source: Path, destination: Path) -> None:
    """Copy all files of a folder into a new one, without the marker of the cache."""
    for name, path in list_files(source).items():
        if name != COMPLETE_MARKER:  # the marker belongs to the cache
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

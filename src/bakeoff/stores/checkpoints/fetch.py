"""Fetch a checkpoint into an empty folder of the cache: alone, checked and under its fixed name."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bakeoff.core.records import AnyModel, NamedModel, SourceKind
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_folder, list_files, shorten
from bakeoff.disk.names import NameRegister
from bakeoff.errors import FULL_OR_READ_ONLY, CheckpointError, ModelSourceError, StorageError, TrackingError
from bakeoff.measure.model.graph import GRAPH_FILE
from bakeoff.measure.model.model_config import CONFIG_FILE
from bakeoff.measure.model.opening import open_model
from bakeoff.measure.model.row_model import MLMODEL_FILE
from bakeoff.stores.checkpoints.archives import find_checkpoint_folder, unpack
from bakeoff.stores.checkpoints.sources import (
    Content,
    assemble,
    read_content,
)

Download = Callable[[str, str, Path], Path]

INNER = "checkpoint"
CONTENT = "content.json"
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def describe(model: AnyModel) -> str:
    """Describe where a model's checkpoint comes from, for messages."""
    if isinstance(model, NamedModel):
        return f"models.{model.backbone} ({model.source})"
    return f"{model.checkpoint_artifact!r} of run {model.refit_run_id}"


def make_model(place: str, folder: Path, digest: str, kind: SourceKind, location: str = "") -> NamedModel:
    """Make a named model from what its source holds; its place stands for name and source."""
    if (folder / GRAPH_FILE).is_file():  # also in a model that `bakeoff promote` registered
        kind = SourceKind.ONNX
    return NamedModel(
        backbone=place,
        run_id=digest,
        source=place,
        location=location,
        kind=kind,
        checkpoint_path=folder,
        checkpoint_digest=digest,
    )


def fetch_checkpoint(model: AnyModel, download: Download, aside: Path) -> None:
    """Put the checked checkpoint into a folder, alone and under its fixed name."""
    place = describe(model)
    if isinstance(model, NamedModel):
        content = Content(kind=model.kind, parts=("",))
        if model.kind is not SourceKind.CHECKPOINT:
            content = _fetch_content(model.location, download, aside / "mlmodel", place)
        fetch_source(model.location, content, download, aside, place=place, expected=model.checkpoint_digest)
        return
    with _receiving(aside) as (received, unpacked):
        _download(download, model.refit_run_id, model.checkpoint_artifact, received, place)
        found = received / model.checkpoint_artifact
        if found.is_symlink() or not found.exists():
            raise _nothing_there(place)
        inner = _open_received(found, unpacked, place).rename(aside / INNER)
    try:
        _check_names(inner)
        check_model(model, inner, digest_folder(inner))
    except CheckpointError as error:  # the message is true of the artifact, which remains
        raise CheckpointError(place, found=error.found, fix=error.fix) from error


def _fetch_content(location: str, download: Download, folder: Path, place: str) -> Content:
    """Read what a location with an ``MLmodel`` file holds."""
    folder.mkdir()
    try:
        return read_content(
            [MLMODEL_FILE], lambda name: _download(download, location, name, folder, place), place
        )
    finally:
        shutil.rmtree(folder)


def fetch_source(
    location: str, content: Content, download: Download, aside: Path, *, place: str, expected: str | None
) -> None:
    """Put the checkpoint of a location into a folder, with a note of what the location holds."""
    with _receiving(aside) as (received, unpacked):
        found = {part: _download(download, location, part, received, place) for part in content.parts}
        if content.kind is SourceKind.CHECKPOINT:
            found = {"": _open_received(found[""], unpacked, place)}
        assemble(found, aside / INNER, place)
    finish_source(aside, content, place, expected)


def finish_source(aside: Path, content: Content, place: str, expected: str | None) -> None:
    """Check a checkpoint that is in place, and note next to it what its source holds."""
    inner = aside / INNER
    try:
        _check_names(inner)
        open_content(inner, content.kind)
    except CheckpointError as error:  # the message is true of the source, which remains
        raise ModelSourceError(place, found=error.found, fix=error.fix) from error
    found = digest_folder(inner)
    if expected not in {None, found}:
        raise ModelSourceError(
            place,
            found=f"its content has digest {shorten(found)}, planned was {shorten(str(expected))}",
            fix="run `bakeoff plan` again",
        )
    durable.write_json(aside / CONTENT, content.model_dump(mode="json"))


def open_content(folder: Path, kind: SourceKind) -> None:
    """Check the form of what a source held; run none of its code.

    Raises:
        CheckpointError: A file is missing or broken.
    """
    open_model(folder, kind.loads_as)


@contextmanager
def _receiving(aside: Path) -> Iterator[tuple[Path, Path]]:
    """Make the folder for a download, name the one for its unpacked content, and remove both."""
    received, unpacked = aside / "received", aside / "unpacked"
    received.mkdir()
    yield received, unpacked
    for rest in (received, unpacked):
        shutil.rmtree(rest, ignore_errors=True)


def _download(download: Download, holder: str, path: str, folder: Path, place: str) -> Path:
    try:
        return download(holder, path, folder)
    except TrackingError as error:
        if fault := _find_disk_fault(error):
            raise StorageError(
                folder.parent.parent, action="downloading a checkpoint", error=fault
            ) from error
        if getattr(error.__cause__, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise _nothing_there(place) from error
        raise


def _open_received(found: Path, unpacked: Path, place: str) -> Path:
    """Return the folder of the checkpoint in what was fetched: a folder or an archive."""
    found = _unwrap(found)
    if found.is_file():
        unpacked.mkdir()
        unpack(found, unpacked, place)
        return find_checkpoint_folder(unpacked, place)
    if (found / MLMODEL_FILE).is_file():
        raise CheckpointError(
            place,
            found="an MLflow model, which may load pickles or code",
            fix="if you trust its author, set trust_code: true for its backbone in hpo.backbones",
        )
    return found if (found / CONFIG_FILE).is_file() else find_checkpoint_folder(found, place)


def _unwrap(found: Path) -> Path:
    """Return the one file in a folder: ``log_artifact(archive, NAME)`` puts it into a folder NAME."""
    inside = list(found.iterdir()) if found.is_dir() else []
    is_wrapped = len(inside) == 1 and inside[0].is_file() and not inside[0].is_symlink()
    return inside[0] if is_wrapped and inside[0].name != CONFIG_FILE else found


def _nothing_there(place: str) -> CheckpointError:
    return CheckpointError(
        place, found="the run holds no such artifact", fix="log it, or name it as it was logged"
    )


def _check_names(folder: Path) -> None:
    names = NameRegister()
    for name in list_files(folder):
        if fault := names.find_fault(name, is_folder=False):
            raise CheckpointError(folder, found=f"a file's name: {fault}", fix="rename it and log it again")


def check_model(model: AnyModel, folder: Path, found: str) -> None:
    """Check the form of a model's folder, and its digest against the one that is known."""
    expected = model.checkpoint_digest
    open_content(folder, model.kind if isinstance(model, NamedModel) else SourceKind.CHECKPOINT)
    if expected not in {None, found}:
        raise CheckpointError(
            folder,
            found=f"its content has digest {shorten(found)}, the refit recorded {shorten(str(expected))}",
            fix="restore the trained files, or run the refit again",
        )


def _find_disk_fault(error: TrackingError) -> OSError | None:
    """Find a full disk behind a failed download: MLflow mentions it only in the text of its error."""
    cause = error.__cause__
    numbers = {cause.errno} if isinstance(cause, OSError) else {int(n) for n in _ERRNO.findall(str(cause))}
    number = next((number for number in numbers if number in FULL_OR_READ_ONLY), None)
    return None if number is None else OSError(number, os.strerror(number))

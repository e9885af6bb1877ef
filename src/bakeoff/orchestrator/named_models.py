"""Named models: find what each source of ``models`` holds, fetch it once, and identify it by its content."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bakeoff.core.config.models import ALLOWED, ModelSource
from bakeoff.core.records import NamedModel
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json, shorten
from bakeoff.errors import (
    BakeoffError,
    CheckpointError,
    ConfigError,
    ModelSourceError,
    TrackingError,
    UserError,
)
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.checkpoints.sources import MLMODEL_FILE, Content, read_content, require_checkpoint
from bakeoff.stores.tracking.locations import locate


class KnownLocation(Record):
    """Location that a source meant when the store last answered, kept for offline use."""

    format_version: Literal[1] = 1
    source: str
    store: str
    location: str


class SeenSource(Record):
    """A source as far as names and its ``MLmodel`` show it; no weights were fetched.

    Attributes:
        location: URI of MLflow that it means now; empty for a folder.
        content: What it holds.
        model: The model, if it is on this machine.
    """

    location: str
    content: Content
    model: NamedModel | None


def identify_models(project: Project) -> tuple[tuple[NamedModel, ...], dict[str, BakeoffError]]:
    """Identify every model of ``models``, and fetch what is not on this machine yet.

    Returns:
        The models in the order of the configuration, and the error of each other one by name.

    Raises:
        ConfigError: Two names have the same content.
    """
    models, errors = [], dict[str, BakeoffError]()
    for name, source in project.settings.models.items():
        try:
            models.append(identify_model(project, name, source))
        except BakeoffError as error:
            errors[name] = error
    _refuse_twins(project, models)
    return tuple(models), errors


def identify_model(project: Project, name: str, source: ModelSource) -> NamedModel:
    """Return one model with its checkpoint on this machine; fetch it at the first time only.

    Raises:
        ModelSourceError: The source is missing, unknown, or holds no model that bakeoff measures.
        StorageError: The disk is full, or the cache cannot be written.
        TrackingError: The store does not answer.
        UserError: bakeoff is offline, and the model was never fetched.
    """
    place, seen = _place(name, source), look_at_source(project, name, source)
    model = seen.model
    if model is None:
        if project.is_offline:
            raise _never_fetched(place)
        download = project.tracker.download
        try:
            model = project.checkpoints.acquire_source(seen.location, seen.content, download, place)
        except CheckpointError as error:
            raise ModelSourceError(place, found=error.found, fix=error.fix) from error
    return model.replace(backbone=name, source=source.source)


def look_at_source(project: Project, name: str, source: ModelSource) -> SeenSource:
    """Find out what a source holds, without fetching weights.

    Raises:
        ModelSourceError: The source is missing, unknown, or holds no model that bakeoff measures.
        TrackingError: The store does not answer.
        UserError: bakeoff is offline, and the model was never fetched.
    """
    place = _place(name, source)
    try:
        return (
            _look_at_uri(project, source, place) if source.is_uri else _look_at_path(project, source, place)
        )
    except CheckpointError as error:
        raise ModelSourceError(place, found=error.found, fix=error.fix) from error


def _place(name: str, source: ModelSource) -> str:
    return f"models.{name} ({source.source})"


def _look_at_path(project: Project, source: ModelSource, place: str) -> SeenSource:
    path = project.root / source.source
    try:
        names = [each.name for each in path.iterdir()] if path.is_dir() else [path.name]
        is_there = path.exists()
    except OSError as error:
        raise ModelSourceError(
            place, found=f"cannot be read ({error.strerror})", fix="correct the path"
        ) from None
    if not is_there:
        raise ModelSourceError(
            place, found="no such file or folder", fix=f"correct the path, or set {ALLOWED}"
        )
    content = read_content(names if path.is_dir() else [path.name], lambda name: path / name, place)
    require_checkpoint(content, place)
    if not path.is_dir():
        raise ModelSourceError(place, found="a file", fix=f"set {ALLOWED}")
    model = project.checkpoints.look_at_source(path.absolute(), content, place)
    return SeenSource(location="", content=content, model=model)


def _look_at_uri(project: Project, source: ModelSource, place: str) -> SeenSource:
    location = _locate(project, source, place)
    known = project.checkpoints.find_source(location, place)
    if known is not None:
        return SeenSource(location=location, content=Content(kind=known.kind), model=known)
    if project.is_offline:
        raise _never_fetched(place)
    if not project.tracker.is_there:
        found = f"no tracking store at {project.tracker.shown_uri}"
        raise ModelSourceError(place, found=found, fix="correct tracking.uri")
    content = _read_content(project, location, place)
    require_checkpoint(content, place)
    return SeenSource(location=location, content=content, model=None)


def _read_content(project: Project, location: str, place: str) -> Content:
    """List a location, and read its ``MLmodel``; what cannot be listed is left to the download."""
    try:
        names = project.tracker.list_at(location)
        if MLMODEL_FILE not in names:
            return read_content(list(names), Path, place)
        with tempfile.TemporaryDirectory() as folder:
            return read_content(
                list(names), lambda name: project.tracker.download(location, name, Path(folder)), place
            )
    except TrackingError as error:
        if getattr(error.__cause__, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = f"not in {project.tracker.shown_uri}"
        raise ModelSourceError(
            place, found=found, fix="name a run, artifact or logged model that exists"
        ) from error


def _locate(project: Project, source: ModelSource, place: str) -> str:
    """Return the location that a source means; offline, the one that it meant last."""
    if source.registered is None:
        return source.source
    store = project.tracker.shown_uri
    name = digest_json({"source": source.source, "store": store})
    path = project.checkpoints.folder / "named" / f"{name}.json"
    if project.is_offline:
        try:
            return KnownLocation.model_validate_json(path.read_bytes()).location
        except (OSError, ValidationError):
            raise _never_fetched(place) from None
    location = locate(project.tracker, source, place)
    known = KnownLocation(source=source.source, store=store, location=location)
    durable.write_json(path, known.model_dump(mode="json"))
    return location


def _never_fetched(place: str) -> UserError:
    return ModelSourceError(
        place,
        found="it was never fetched, and bakeoff is offline",
        fix="run `bakeoff plan` once while the store answers",
    )


def _refuse_twins(project: Project, models: Sequence[NamedModel]) -> None:
    names: dict[str, list[str]] = {}
    for model in models:
        names.setdefault(model.run_id, []).append(model.backbone)
    faults = [
        f"{project.place('models')}: models.{' and models.'.join(same)}: found the same content "
        f"(digest {shorten(digest)}); allowed is one name for each content; remove all but one"
        for digest, same in names.items()
        if len(same) > 1
    ]
    if faults:
        raise ConfigError(faults)

"""Named models: find what each source of ``models`` holds, fetch it once, and identify it by its content."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bakeoff.core.config.models import ALLOWED, ModelSource
from bakeoff.core.records import NamedModel, SourceKind
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_file, digest_json, shorten
from bakeoff.disk.inputs import MAX_RECORD_BYTES, read_regular
from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import (
    BakeoffError,
    CheckpointError,
    ConfigError,
    ModelSourceError,
    TrackingError,
    UserError,
)
from bakeoff.measure.model.checkpoint import TOKENIZER_FILE, ConfigFacts, read_config
from bakeoff.measure.model.graph import Graph, read_graph
from bakeoff.measure.model.model_config import CONFIG_FILE
from bakeoff.measure.model.row_model import MLMODEL_FILE, Factory
from bakeoff.measure.model.user_code import digest_source
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.checkpoints.sources import Content, read_content, require_trust
from bakeoff.stores.tracking.locations import locate


class KnownLocation(Record):
    """Location that a source meant when the store last answered, kept for offline use."""

    format_version: Literal[2] = 2
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
    place, seen = _place(project, name, source), look_at_source(project, name, source)
    model = seen.model
    if model is None:
        if project.is_offline:
            raise _never_fetched(place)
        download = project.tracker.download
        try:
            model = project.checkpoints.acquire_source(seen.location, seen.content, download, place)
        except CheckpointError as error:
            raise ModelSourceError(place, found=error.found, fix=error.fix) from error
    return model.replace(backbone=name, source=source.shown)


def look_at_source(project: Project, name: str, source: ModelSource) -> SeenSource:
    """Find out what a source holds, without fetching weights and without running code.

    Raises:
        ModelSourceError: The source is missing, unknown, holds no model that bakeoff measures, or would run
            code that you did not say you trust.
        TrackingError: The store does not answer.
        UserError: bakeoff is offline, and the model was never fetched.
    """
    place = _place(project, name, source)
    try:
        if source.factory is not None:
            return _look_at_factory(project, source, source.factory, place)
        seen = (
            _look_at_uri(project, source, place) if source.is_uri else _look_at_path(project, source, place)
        )
    except CheckpointError as error:
        raise ModelSourceError(place, found=error.found, fix=error.fix) from error
    except ConfigError as error:
        raise ConfigError([f"{place}: {error}"]) from error
    return seen


def _place(project: Project, name: str, source: ModelSource) -> str:
    """Return the setting of a source, for messages; the champion of a backbone may be one too."""
    section = "hpo.backbones" if name in project.settings.hpo.backbones else "models"
    return f"{section}.{name} ({source.shown})"


def _look_at_factory(project: Project, source: ModelSource, function: str, place: str) -> SeenSource:
    files = {}
    for name in source.files:
        path = project.root / name
        if not path.is_file():
            raise ModelSourceError(place, found=f"no file {name!r}", fix="correct its `files`")
        files[name] = digest_file(path)
    factory = Factory(function=function, source=digest_source(function, "factory"), files=files)
    model = project.checkpoints.keep_factory(factory, place)
    return SeenSource(location="", content=Content(kind=SourceKind.PYTHON), model=model)


def _look_at_path(project: Project, source: ModelSource, place: str) -> SeenSource:
    path = project.root / source.source
    try:
        is_there, is_folder = path.exists(), path.is_dir()
        names = [each.name for each in path.iterdir()] if is_folder else [path.name]
    except OSError as error:
        raise ModelSourceError(
            place, found=f"cannot be read ({error.strerror})", fix="correct the path"
        ) from None
    if not is_there:
        raise ModelSourceError(
            place, found="no such file or folder", fix=f"correct the path, or set {ALLOWED}"
        )
    content = read_content(names, lambda name: path / name, place)
    require_trust(content, place, is_trusted=source.trust_code)
    if content.kind is SourceKind.ONNX:
        folder = path if is_folder else path.parent
        return SeenSource(
            location="", content=content, model=_look_at_graph(project, source, folder / content.graph, place)
        )
    if not is_folder:
        raise ModelSourceError(place, found="a file", fix=f"set {ALLOWED}")
    model = project.checkpoints.look_at_source(path.absolute(), content, place)
    return SeenSource(location="", content=content, model=model)


def _look_at_graph(project: Project, source: ModelSource, path: Path, place: str) -> NamedModel:
    """Find tokenizer and labels of an ONNX graph, and keep all of it in one folder."""
    if not path.is_file():
        raise ModelSourceError(place, found=f"{path.name} is not a file", fix="name the .onnx file itself")
    graph = read_graph(path, place)
    files = {name: path.parent / name for name in (graph.file, *graph.data_files)}
    if not project.settings.data.task.reads_tensors:
        if fault := graph.find_text_fault():
            fix = "export it with free axes for batch and tokens; its cost alone is measured with data.task: "
            raise ModelSourceError(place, found=fault, fix=f"{fix}tensors and an npz file of inputs")
        folder = _find_tokenizer(project, source, path, place)
        files[TOKENIZER_FILE] = folder / TOKENIZER_FILE
        graph = _complete(graph, source, folder, place)
    return project.checkpoints.keep_graph(files, graph, place)


def _find_tokenizer(project: Project, source: ModelSource, path: Path, place: str) -> Path:
    """Find the folder with the tokenizer of a graph: the named one, its own, or the one above."""
    named = project.root / source.tokenizer if source.tokenizer is not None else None
    for folder in (path.parent, path.parent.parent) if named is None else (named,):
        if (folder / TOKENIZER_FILE).is_file():
            return folder
    found = f"no {TOKENIZER_FILE} next to {path.name}" if named is None else f"no {TOKENIZER_FILE} in {named}"
    raise ModelSourceError(
        place,
        found=found,
        fix="set `tokenizer` to the folder that holds it; the cost alone is measured with data.task: tensors "
        "and an npz file of inputs",
    )


def _complete(graph: Graph, source: ModelSource, folder: Path, place: str) -> Graph:
    """Complete a graph by what lies next to its tokenizer: labels, padding and the longest text."""
    told = read_config(folder) if (folder / CONFIG_FILE).is_file() else ConfigFacts()
    labels = source.labels or told.labels
    if not labels and graph.n_labels is not None:
        labels = tuple(f"LABEL_{number}" for number in range(graph.n_labels))
    if not labels or graph.n_labels not in {None, len(labels)}:
        found = f"{len(labels)} labels for the output {graph.output.described}"
        raise ModelSourceError(place, found=found, fix="set its `labels`, one an output, in their order")
    return graph.replace(labels=labels, pad_token_id=told.pad_token_id, max_positions=told.max_positions)


def _look_at_uri(project: Project, source: ModelSource, place: str) -> SeenSource:
    location = _locate(project, source, place)
    known = project.checkpoints.find_source(location, place)
    if known is not None:
        content = Content(kind=known.kind)
        require_trust(content, place, is_trusted=source.trust_code)
        return SeenSource(location=location, content=content, model=known)
    if project.is_offline:
        raise _never_fetched(place)
    if not project.tracker.is_there:
        found = f"no tracking store at {project.tracker.shown_uri}"
        raise ModelSourceError(place, found=found, fix="correct tracking.uri")
    content = _read_content(project, location, place)
    require_trust(content, place, is_trusted=source.trust_code)
    if content.kind is SourceKind.ONNX:
        raise ModelSourceError(
            place, found=f"the ONNX graph {content.graph}", fix="download it, and name the file"
        )
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
        return source.shown
    store = project.tracker.shown_uri
    name = digest_json({"source": source.shown, "store": store})
    path = project.checkpoints.folder / "named" / f"{name}.json"
    if project.is_offline:
        try:
            return KnownLocation.model_validate(open_sealed(read_regular(path, MAX_RECORD_BYTES))).location
        except (OSError, ValueError):
            raise _never_fetched(place) from None
    location = locate(project.tracker, source, place)
    known = KnownLocation(source=source.shown, store=store, location=location)
    durable.write_bytes(path, seal_json(known.model_dump(mode="json")))
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

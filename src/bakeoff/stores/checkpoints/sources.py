"""Sources of named models: what kind each one is, and which of its folders are the checkpoint.

``read_content`` is the one place where the kind of a source is decided. It reads names and the small file
``MLmodel``, never weights, so that a model that does not fit is refused before anything is fetched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from bakeoff.core.config.yaml_values import read_value
from bakeoff.core.records import SourceKind
from bakeoff.disk.digest import digest_file, list_files
from bakeoff.disk.folders import COMPLETE_MARKER
from bakeoff.disk.inputs import read_regular
from bakeoff.disk.names import NameRegister, find_path_fault
from bakeoff.errors import ModelSourceError
from bakeoff.measure.model.row_model import MLMODEL_FILE
from bakeoff.record import Record

ONNX_SUFFIX = ".onnx"
MAX_MLMODEL_BYTES = 5_000_000  # an MLmodel file has some kilobytes; one with an input example some hundred
SERVING_LOADER = "bakeoff.serving"
TOKENIZER_FOLDER = "components/tokenizer"
_CHECKPOINT = "checkpoint"
_PYFUNC = "python_function"
_LOG_AGAIN = "log the model with mlflow.transformers.log_model, with its weights and its fast tokenizer"
# Files of a checkpoint: next to them, a graph is only another form of the same model.
_WEIGHTS = (".safetensors", ".safetensors.index.json")


class Content(Record):
    """What a source holds.

    Attributes:
        kind: Kind of the source.
        flavors: Flavors that its ``MLmodel`` names; empty without one.
        parts: Folders of the source that together are the model; ``""`` is the source itself.
        graph: Name of the ONNX graph; empty for another kind.
    """

    kind: SourceKind
    flavors: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("",)
    graph: str = ""


def read_content(names: Collection[str], read: Callable[[str], Path], place: str) -> Content:
    """Decide what kind a source is.

    Args:
        names: Names of the files and folders directly in the source; for a source that is a file, its name.
        read: Returns a local copy of one of these files.
        place: Setting of the source, for messages.

    Raises:
        ModelSourceError: Its ``MLmodel`` cannot be read, or names a checkpoint that is not there. Or it holds
            several ONNX graphs.
    """
    if MLMODEL_FILE in names:
        return _read_flavors(_load(read(MLMODEL_FILE), place), place)
    graphs = sorted(name for name in names if name.endswith(ONNX_SUFFIX))
    if not graphs or any(name.endswith(_WEIGHTS) for name in names):
        return Content(kind=SourceKind.CHECKPOINT)
    if len(graphs) > 1:
        found = f"several ONNX graphs ({', '.join(graphs[:4])})"
        raise ModelSourceError(place, found=found, fix="name one of these files")
    return Content(kind=SourceKind.ONNX, graph=graphs[0])


def require_trust(content: Content, place: str, *, is_trusted: bool) -> None:
    """Check that code of a model may run, if it runs any.

    Raises:
        ModelSourceError: It would run code, and you did not say that you trust it.
    """
    if content.kind is SourceKind.PYFUNC and not is_trusted:
        named = ", ".join(content.flavors) or _PYFUNC
        raise ModelSourceError(
            place,
            found=f"an MLflow model of the flavor {named}, which loads pickles or code of the artifact",
            fix="if you trust its author, set trust_code: true for it, or --trust-code: that code can "
            "do all that you can do",
        )


def assemble(parts: Mapping[str, Path], target: Path, place: str) -> None:
    """Put the files of several folders into one new folder, as hard links where the file system has them.

    Args:
        parts: Folders by their name in messages.
        target: Folder to make.
        place: Setting of the source, for messages.

    Raises:
        ModelSourceError: Two folders hold different files of one name, or a name is unsafe.
        OSError: The disk is full or cannot be written.
    """
    names = NameRegister()
    target.mkdir(parents=True)
    for part, folder in parts.items():
        for name, path in list_files(folder).items():
            if name == COMPLETE_MARKER:  # the marker belongs to the cache
                continue
            copy = target / name
            if copy.is_file():
                if digest_file(copy) != digest_file(path):
                    raise ModelSourceError(
                        place, found=f"{part!r} holds another {name!r} than the other folders", fix=_LOG_AGAIN
                    )
                continue
            if fault := names.find_fault(name, is_folder=False):
                raise ModelSourceError(place, found=f"a file's name: {fault}", fix="rename the file")
            copy.parent.mkdir(parents=True, exist_ok=True)
            link(path, copy)


def link(path: Path, copy: Path) -> None:
    """Make a hard link, or a copy where the file system has none."""
    try:
        os.link(path, copy)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(path, copy)


def _load(path: Path, place: str) -> Mapping[Any, Any]:
    try:
        found = read_value(read_regular(path, MAX_MLMODEL_BYTES).decode(), MAX_MLMODEL_BYTES)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise _unreadable(place, f"it cannot be read: {reason!r}") from None
    flavors = found.get("flavors") if isinstance(found, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise _unreadable(place, "it names no flavors")
    return flavors


def _unreadable(place: str, reason: str) -> ModelSourceError:
    return ModelSourceError(place, found=f"a broken {MLMODEL_FILE} ({reason})", fix="log the model again")


def _read_flavors(flavors: Mapping[Any, Any], place: str) -> Content:
    function = flavors.get(_PYFUNC)
    names = tuple(sorted(repr(str(name)[:40])[1:-1] for name in flavors if name != _PYFUNC)) or (_PYFUNC,)
    transformers = flavors.get("transformers")
    if isinstance(transformers, dict):
        parts = _find_parts(transformers, place)
        return Content(kind=SourceKind.TRANSFORMERS, flavors=names, parts=parts)
    if isinstance(function, dict) and function.get("loader_module") == SERVING_LOADER:
        data = function.get("data")
        if not isinstance(data, str) or find_path_fault(data):
            raise ModelSourceError(place, found=f"its {MLMODEL_FILE} names no data", fix="promote it again")
        parts = (f"{data}/{_CHECKPOINT}",)
        return Content(kind=SourceKind.PROMOTED, flavors=names, parts=parts)
    return Content(kind=SourceKind.PYFUNC, flavors=names)


def _find_parts(flavor: Mapping[Any, Any], place: str) -> tuple[str, ...]:
    """Find the folders with the weights and the tokenizer of a transformers model."""
    if flavor.get("peft_adaptor"):
        raise ModelSourceError(
            place,
            found="an adapter (PEFT) without merged weights",
            fix="merge it into its model, and log that",
        )
    weights = flavor.get("model_binary")
    if not isinstance(weights, str) or find_path_fault(weights):
        base = str(flavor.get("source_model_name"))[:80]
        found = f"no weights, only the name of a model elsewhere ({base!r})"
        raise ModelSourceError(place, found=found, fix=_LOG_AGAIN)
    components = flavor.get("components")
    if not isinstance(components, list) or "tokenizer" not in components:
        raise ModelSourceError(place, found="weights without a tokenizer", fix=_LOG_AGAIN)
    return (weights, TOKENIZER_FOLDER)

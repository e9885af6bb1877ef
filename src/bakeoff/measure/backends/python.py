"""Objects that a function of the user makes: rows in, predictions out."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bakeoff.errors import CheckpointError
from bakeoff.measure.backends.row_runtimes import (
    RowRuntime,
    describe_failure,
    describe_threads,
    list_answers,
)
from bakeoff.measure.model.row_model import Factory, RowModel
from bakeoff.measure.model.session import ModelKind
from bakeoff.measure.model.user_code import digest_source, load_function


class Python(RowRuntime):
    """An object with ``predict(rows)``, made by a function of yours that ``models`` names as ``factory``.

    Attributes:
        libraries: Distributions that loading needs: those of the function are its own matter.
        build_libraries: Distributions that preparing needs as well: none.
        extras: Extras of bakeoff that bring all of them: none.
        device: The CPU, unless the function decides otherwise.
        threads: Threads of OpenMP and of the linear algebra; null means all physical cores that this process
            may use. The function may start others.
    """

    kind: Literal["python"] = "python"

    @property
    def runs(self) -> ModelKind:
        """Kind of the models that it loads."""
        return "python"

    def import_libraries(self) -> None:
        """Do nothing: the function imports what it needs, as part of loading."""

    def load(self, model: RowModel, prepared: Path | None, *, is_verified: bool = False) -> PythonSession:
        """Call the function.

        Raises:
            CheckpointError: The function has changed, raises, or returns an object without ``predict``.
            ConfigError: It cannot be imported.
        """
        del prepared, is_verified
        if model.factory is None:
            raise CheckpointError(model.folder, found="no factory", fix="name it in models as `factory`")
        return PythonSession(_make(model.folder, model.factory))


class PythonSession:
    """Object of the user."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the object's answers to rows."""
        try:
            answers = self._model.predict(list(rows))
        except Exception as error:  # code of the user
            raise describe_failure(error, "it was given a list of mappings, one a row") from error
        return list_answers(answers)

    def describe(self) -> Mapping[str, str]:
        """Return the class of the object, and threads in force."""
        kind = type(self._model)
        return {
            "object": f"{kind.__module__}.{kind.__qualname__}",
            "python": platform.python_version(),
            **describe_threads(),
        }

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: what an object does with a device is unknown."""
        return {}


def _make(folder: Path, factory: Factory) -> Any:
    place = f"factory {factory.function}"
    if digest_source(factory.function, place) != factory.source:
        raise CheckpointError(folder, found=f"{place} has changed since the plan", fix="plan again")
    function = load_function(factory.function, place)
    try:
        made = function()
    except Exception as error:  # code of the user: any error becomes one line
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        fix = "call it without arguments, and correct it"
        if isinstance(error, FileNotFoundError):
            fix = "name its files by Path(__file__): a worker has another working folder"
        raise CheckpointError(folder, found=f"{place} raised {reason}", fix=fix) from error
    if not callable(getattr(made, "predict", None)):
        found = f"{place} returned a {type(made).__name__} without predict(rows)"
        raise CheckpointError(folder, found=found, fix="return an object with this method")
    return made

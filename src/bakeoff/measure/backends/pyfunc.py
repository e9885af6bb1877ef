"""MLflow models as ``mlflow models serve`` would load them: rows in, predictions out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

from bakeoff.errors import CheckpointError, DataError
from bakeoff.measure.backends.availability import library_versions
from bakeoff.measure.backends.row_runtimes import (
    RowRuntime,
    describe_failure,
    describe_threads,
    list_answers,
)
from bakeoff.measure.model.row_model import RowModel
from bakeoff.measure.model.session import ModelKind
from bakeoff.plural import count

LIBRARIES = ("mlflow",)
_REQUIREMENTS = "requirements.txt"
_SELECT = (
    "a vectorizer of scikit-learn reads a table as its column names, so select the text first, with "
    "ColumnTransformer([('text', TfidfVectorizer(), 'text')]), and log the pipeline again"
)
# Flavors whose loader wants a table in any case.
_TABLES = frozenset({"spacy", "lightgbm", "xgboost", "catboost", "statsmodels", "h2o"})
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")


class PyFunc(RowRuntime):
    """MLflow's own loader of any flavor: scikit-learn, LightGBM, spaCy, pipelines of transformers.

    It runs code of the artifact, so a model needs ``trust_code: true``.

    Attributes:
        libraries: Distributions that loading needs; those of the model itself are its own matter.
        build_libraries: Distributions that preparing needs as well: none.
        extras: Extras of bakeoff that bring all of them: none, since MLflow is always there.
        device: The CPU only.
        threads: Threads of OpenMP and of the linear algebra; null means all physical cores that this process
            may use. A model may start others.
    """

    libraries: ClassVar[tuple[str, ...]] = LIBRARIES

    kind: Literal["pyfunc"] = "pyfunc"

    @property
    def runs(self) -> ModelKind:
        """Kind of the models that it loads."""
        return "pyfunc"

    def import_libraries(self) -> None:
        """Import what loading needs, so that imports and loading are timed separately."""
        import mlflow.pyfunc  # noqa: F401

    def load(self, model: RowModel, prepared: Path | None, *, is_verified: bool = False) -> PyFuncSession:
        """Load the model; its code runs.

        Raises:
            CheckpointError: MLflow cannot load it; the message has the reason.
        """
        del prepared, is_verified
        import mlflow.pyfunc

        try:
            loaded = mlflow.pyfunc.load_model(str(model.folder), suppress_warnings=True)
        except Exception as error:  # loaders of many libraries
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise CheckpointError(
                model.folder,
                found=f"mlflow cannot load it ({reason})",
                fix=f"install what its {_REQUIREMENTS} names, and log it with its code (code_paths)",
            ) from error
        return PyFuncSession(loaded, _compare_pins(model.folder))


class PyFuncSession:
    """Loaded MLflow model.

    Args:
        model: What ``mlflow.pyfunc.load_model`` returned.
        pins: Installed version of each library that the model was logged with.
    """

    def __init__(self, model: Any, pins: Mapping[str, str]) -> None:
        self._model = model
        self._pins = pins
        schema = model.metadata.get_input_schema()
        has_columns = schema is not None and schema.has_input_names()
        # Looked up here, since calls are timed.
        self._required = tuple(schema.required_input_names()) if has_columns else ()
        # Without named columns, a pipeline of scikit-learn or transformers expects the texts themselves: of a
        # table it would read the names of the columns.
        self._is_sklearn = "sklearn" in model.metadata.flavors
        self._takes_texts = not has_columns and not _TABLES.intersection(model.metadata.flavors)

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the answers to rows: those of a table, or of a list of texts for a model without columns."""
        given = self._make_input(rows)
        try:
            answers = self._model.predict(given)
        except Exception as error:  # code of the model
            form = "a list" if isinstance(given, list) else f"a table with {', '.join(given.columns)}"
            hint = f"; {_SELECT}" if self._is_sklearn else ""
            raise describe_failure(error, f"it was given {form}, as its signature asks{hint}") from error
        found = list_answers(answers)
        if self._is_sklearn and len(found) != len(rows):
            told = f"{count(len(found), 'prediction')} for {count(len(rows), 'row')}"
            raise DataError("predictions of the model", found=told, expected=f"one a row; {_SELECT}")
        return found

    def _make_input(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        if self._takes_texts and all(len(row) == 1 for row in rows):
            return [next(iter(row.values())) for row in rows]
        import pandas as pd

        table = pd.DataFrame(list(rows))
        absent = [name for name in self._required if name not in table.columns]
        if absent:
            raise CheckpointError(
                "of an MLflow model",
                found=f"its signature has the column {absent[0]!r}; rows have {', '.join(table.columns)}",
                fix="set the fields of data.task to its columns, or log it with those of the data",
            )
        return table

    def describe(self) -> Mapping[str, str]:
        """Return versions and threads in force."""
        return {**library_versions(*LIBRARIES), **self._pins, **describe_threads()}

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: what a model does with a device is unknown."""
        return {}


def _compare_pins(folder: Path) -> dict[str, str]:
    """Return the installed version of each pinned requirement, with the pin where it is another one."""
    path = folder / _REQUIREMENTS
    found = {}
    for name, wanted in _PIN.findall(path.read_text(encoding="utf-8")) if path.is_file() else ():
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "not installed"
        found[name] = installed if installed == wanted else f"{installed} (logged with {wanted})"
    return found

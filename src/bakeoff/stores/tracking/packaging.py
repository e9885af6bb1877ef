"""Model folder for MLflow serving: MLmodel, signature, example, pinned requirements, bakeoff's own code."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff import serving
from bakeoff.disk.digest import digest_file, digest_json
from bakeoff.measure.backends.availability import ABSENT, library_versions
from bakeoff.measure.tasks import Task
from bakeoff.measure.tasks.served import Column

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec

_PACKAGE = Path(serving.__file__).parent
# It would copy the uv project of the current folder, and it draws bars on stderr.
_QUIET = {"MLFLOW_UV_AUTO_DETECT": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def pin_requirements(libraries: Sequence[str]) -> tuple[str, ...]:
    """Pin the PyPI packages of a served model to the versions in use here.

    Args:
        libraries: Libraries of the runtime; those of every runtime are added.
    """
    versions = library_versions("mlflow", *serving.LIBRARIES, *libraries)
    # A local build such as 2.13.0+cpu is on no index; its public version is.
    return tuple(
        sorted(f"{name}=={found.partition('+')[0]}" for name, found in versions.items() if found != ABSENT)
    )


def digest_code() -> str:
    """Compute the digest of bakeoff's installed code, which travels with every model."""
    return digest_json(
        {path.relative_to(_PACKAGE).as_posix(): digest_file(path) for path in sorted(_PACKAGE.rglob("*.py"))}
    )


def write_model(
    folder: Path,
    data: Path,
    *,
    options: serving.ServingOptions,
    task: Task,
    requirements: Sequence[str],
    metadata: Mapping[str, str],
) -> None:
    """Write the model folder around the output of ``serving.write_served_model``.

    The folder includes bakeoff's code. It is part of the measurement, and a container then needs only a
    package index. The folder holds no pickle.

    Args:
        folder: Folder to make; it must not exist yet.
        data: Folder to copy into it.
        options: Defaults for the options at loading.
        task: Task of the model, which has the columns of requests and answers.
        requirements: Pinned requirements.
        metadata: Entries for readers of the file ``MLmodel``.
    """
    with _as_quiet_as_possible():
        import mlflow.pyfunc
        import pandas as pd

        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=serving.__name__,
            data_path=str(data),
            code_paths=[str(_PACKAGE)],
            pip_requirements=list(requirements),
            signature=_make_signature(task),
            input_example=pd.DataFrame([task.request_example]),
            model_config=options.model_dump(mode="json"),
            metadata=dict(metadata),
        )


def _make_signature(task: Task) -> ModelSignature:
    """Make the signature: a row of the task in, one answer a row out, no params."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    return ModelSignature(
        inputs=Schema([_make_column(column) for column in task.request_columns]),
        outputs=Schema([_make_column(column) for column in task.answer_columns]),
    )


def _make_column(column: Column) -> ColSpec:
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array, Object, Property

    text, number = DataType.string, DataType.long
    parts: dict[str, Any] = {
        "type": text,
        "text": text,
        "start": number,
        "end": number,
        "first_word": number,
        "last_word": number,
    }
    types: dict[str, Any] = {
        "string": text,
        "strings": Array(text),
        "double": DataType.double,
        "doubles": Array(DataType.double),
        "boolean": DataType.boolean,
        "entities": Array(Object([Property(name, kind) for name, kind in parts.items()])),
    }
    return ColSpec(types[column.kind], column.name, required=column.is_required)


@contextmanager
def _as_quiet_as_possible() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""Models that read rows and answer predictions: an MLflow model, or an object that your function makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bakeoff.disk.digest import digest_as, list_files, shorten
from bakeoff.errors import CheckpointError
from bakeoff.record import Record

MLMODEL_FILE = "MLmodel"
FACTORY_FILE = "bakeoff-factory.json"


class Factory(Record):
    """A function that makes a model; kept as ``bakeoff-factory.json``.

    Attributes:
        function: ``package.module:function``.
        source: Digest of the file that defines it.
        files: Digest of each file that the function reads, by its path.
    """

    format_version: Literal[1] = 1
    function: str
    source: str
    files: Mapping[str, str] = {}


@dataclass(frozen=True)
class RowModel:
    """Model that reads rows.

    Attributes:
        folder: Folder with ``MLmodel``, or with the record of a factory.
        factory: The function that makes it; None for an MLflow model.
    """

    folder: Path
    factory: Factory | None = None

    @property
    def size_bytes(self) -> int:
        """Size of its files, in bytes; 0 for a factory, whose files may be shared."""
        if self.factory is not None:
            return 0
        return sum(path.stat().st_size for path in list_files(self.folder).values())


def open_row_model(folder: Path, digest: str | None = None) -> RowModel:
    """Open a folder with an MLflow model or the record of a factory; run none of its code.

    Args:
        folder: The folder.
        digest: Digest that its content must have; None does not compare.

    Raises:
        CheckpointError: It is neither, or its content is another one.
    """
    if digest is not None and (found := digest_as(digest, folder)) != digest:
        raise CheckpointError(
            folder,
            found=f"its content has digest {shorten(found)}, planned was {shorten(digest)}",
            fix="run `bakeoff plan` again",
        )
    if (folder / FACTORY_FILE).is_file():
        try:
            factory = Factory.model_validate_json((folder / FACTORY_FILE).read_bytes())
        except ValidationError as error:
            found = f"{FACTORY_FILE} is not a whole record ({error.errors()[0]['msg']})"
            raise CheckpointError(folder, found=found, fix="remove the folder") from None
        return RowModel(folder, factory)
    if not (folder / MLMODEL_FILE).is_file():
        raise CheckpointError(folder, found=f"no {MLMODEL_FILE}", fix="name the folder that mlflow wrote")
    return RowModel(folder)

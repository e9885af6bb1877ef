"""What runtimes and sessions that read rows share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from bakeoff.errors import DataError
from bakeoff.measure.backends import parity
from bakeoff.measure.model.row_model import RowModel
from bakeoff.record import Record


class RowRuntime(Record):
    """A runtime that loads models of rows as they are, on the CPU; nothing is made from them first."""

    libraries: ClassVar[tuple[str, ...]] = ()
    build_libraries: ClassVar[tuple[str, ...]] = ()
    extras: ClassVar[tuple[str, ...]] = ()

    kind: str
    device: Literal["cpu"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def label(self) -> str:
        """Short name for tables."""
        return self.kind

    def for_graph(self) -> Self | None:
        """Return None: it runs no graph."""
        return None

    def require_installed(self) -> None:
        """Do nothing: no library is needed that bakeoff does not have."""

    def prepare_settings(self) -> dict[str, str] | None:
        """Return None: nothing has to be made first."""
        return None

    def prepare(self, model: RowModel, folder: Path, sample: parity.Sample) -> None:
        """Make nothing."""

    def model_size_bytes(self, prepared: Path | None, model: RowModel) -> int:
        """Return the size of all its files."""
        del prepared
        return model.size_bytes


def list_answers(found: Any) -> list[Any]:
    """Return the answers of any container as a list of plain values, one a row.

    Args:
        found: A list, an array, a column, or a table. A table with one column gives its values, one with
            several gives a mapping a row.
    """
    if hasattr(found, "to_dict") and hasattr(found, "columns"):  # a table of pandas
        if len(found.columns) == 1:
            return list_answers(found.iloc[:, 0])
        return [
            {str(name): _unwrap(value) for name, value in row.items()} for row in found.to_dict("records")
        ]
    if hasattr(found, "tolist"):  # an array, a column or a tensor
        found = found.tolist()
    if isinstance(found, (list, tuple)):
        return [_unwrap(value) for value in found]
    return [found]


def describe_failure(error: Exception, given: str) -> DataError:
    """Return the error of a model whose code raised another one.

    Args:
        error: The error.
        given: What the model was given.
    """
    reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    return DataError("predictions of the model", found=reason, expected=f"an answer a row; {given}")


def describe_threads() -> dict[str, str]:
    """Return the thread pools of the loaded libraries, if threadpoolctl is there to ask them."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {}
    pools = {
        f"{pool['internal_api']} {pool.get('version') or ''}".strip(): pool for pool in threadpool_info()
    }
    return {f"threads of {name}": str(pool["num_threads"]) for name, pool in sorted(pools.items())}


def _unwrap(value: Any) -> Any:
    """Return a plain value for a scalar, array or tensor of a library."""
    return value.tolist() if hasattr(value, "tolist") else value

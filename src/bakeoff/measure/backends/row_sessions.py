"""What sessions that read rows share: answers as a list, and the thread pools in force."""

from __future__ import annotations

from typing import Any

from bakeoff.errors import DataError


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

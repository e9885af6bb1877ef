"""NumPy's ``.npz`` files: a row stands for one place along the leading axis of every array."""

from __future__ import annotations

from pathlib import Path

from bakeoff.measure.model.tensor_rows import count_rows, digest_arrays, read_arrays
from bakeoff.measure.tasks.rows import Row


def read_npz(path: Path) -> list[Row]:
    """Read references to the rows of a file of arrays; the arrays stay in the file.

    Raises:
        DataError: The file is damaged, too large, or holds something else than arrays of numbers.
    """
    arrays = read_arrays(path)
    digest, place = digest_arrays(arrays), str(path.absolute())
    return [
        Row(f"{path}: row {number}", {"path": place, "digest": digest, "row": number})
        for number in range(count_rows(arrays))
    ]

"""Rows: records of a data file, as they are before a task reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """One record of a data file.

    Attributes:
        place: Place in the file, for messages: ``test.jsonl:12``.
        values: Fields by name; or a text alone.
    """

    place: str
    values: Mapping[str, object] | str

"""Cells: lists written as text, as a table file without lists holds them."""

from __future__ import annotations

import ast
import json
import re

_ATOM = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|[-+.\w]++)"""
_GROUP = rf"""[\[({{]\s*+(?:{_ATOM}\s*+(?:[:,]\s*+{_ATOM}\s*+)*+,?+\s*+)?+[\])}}]"""
_ITEM = rf"(?:{_ATOM}|{_GROUP})"
# Python joins texts without a comma between them, as NumPy writes lists: these must not pass for one text.
_LIST = re.compile(rf"\[\s*+(?:{_ITEM}\s*+(?:,\s*+{_ITEM}\s*+)*+,?+\s*+)?+\]", re.DOTALL)


def read_list(value: object) -> object:
    """Return the list that a cell holds, or the value as it is.

    A list in a cell is written in JSON, ``["Ada", "codes"]``, or as pandas writes it, ``['Ada', 'codes']``.
    """
    if not isinstance(value, str) or not value.startswith("["):
        return value
    for parse in (json.loads, _read_python):
        try:
            found = parse(value)
            if "\\" in value:  # an escape can stand for half of a surrogate pair, which is not text
                json.dumps(found, ensure_ascii=False).encode()
        except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else value
    return value


def _read_python(text: str) -> object:
    if not _LIST.fullmatch(text):
        raise ValueError(text)
    found = ast.literal_eval(text)
    return [list(item) if isinstance(item, tuple) else item for item in found]

"""A server that does what it is asked, and whose answer is lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class LosesFirstReply:
    """Calls a function as it is, and loses its first answer.

    Attributes:
        lost: The answer that nobody got.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.lost: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = self._function(*args, **kwargs)
        if not self.lost:
            self.lost.append(made)
            raise OSError("connection reset")
        return made

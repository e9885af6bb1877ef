"""An executor of the standard library's kind that is no other thread; that of a cluster is in ``cluster``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class InThisThread(Executor):
    """Calls what is submitted at once, in the thread that submits it: nothing of ours runs beside it."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever asks the future for its result gets it
            future.set_exception(error)
        return future

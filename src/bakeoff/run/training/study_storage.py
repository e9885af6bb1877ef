"""The storage of a study: with bounded retries, and with a lock file if it has no row locks."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from bakeoff.core.config.settings import WorkerSettings
from bakeoff.disk import durable
from bakeoff.errors import MissingExtraError, StudyError
from bakeoff.uris import SQLITE, dialect_of, find_sqlite_path, knock, mask_password

T = TypeVar("T")
OnRetry = Callable[[str], None]

RETRY_WAITS_S = (0.5, 1.0, 2.0, 4.0)
SQLITE_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 5
MAX_SHOWN = 300


class StudyStorage:
    """Optuna's storage at an address.

    The constructor connects and makes the tables if there are none.

    Args:
        uri: Address of the storage.
        workers: Settings of the heartbeats.
        on_stale: Called with study and trial for each silent trial that this process has failed.
        notify: Gets a line about every retry of a storage that does not answer.

    Raises:
        MissingExtraError: Optuna or the driver of the database is not installed.
        StudyError: The storage does not answer.

    Attributes:
        optuna: The imported library.
        rdb: Optuna's storage object.
    """

    def __init__(
        self, uri: str, workers: WorkerSettings, on_stale: Callable[[Any, Any], None], notify: OnRetry
    ) -> None:
        self.optuna = _import_optuna()
        self._uri = uri
        self._notify = notify
        self._lock = _find_lock(uri)
        self.rdb: Any = self.call("opening it", lambda: self._connect(workers, on_stale))

    def call(self, action: str, function: Callable[[], T]) -> T:
        """Call the storage, and retry faults for about 8 s.

        Args:
            action: Name of the action in messages.
            function: Must be repeatable.
        """
        from sqlalchemy.exc import ArgumentError, SQLAlchemyError

        for wait_s in (*RETRY_WAITS_S, None):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
                    return function()
            except (self.optuna.exceptions.StorageInternalError, SQLAlchemyError, OSError) as error:
                found = _describe(error)
                if wait_s is None or isinstance(error, ArgumentError):
                    raise StudyError(mask_password(self._uri), action=action, found=found) from error
                self._notify(f"hpo.storage: {action} failed ({found}); again in {wait_s:g} s")
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def turn(self) -> AbstractContextManager[None]:
        """Take a turn by a lock file among the processes of one machine: SQLite has no row locks."""
        return durable.exclusive(self._lock) if self._lock else nullcontext()

    def _connect(self, workers: WorkerSettings, on_stale: Callable[[Any, Any], None]) -> Any:
        knock(self._uri)
        try:
            return self.optuna.storages.RDBStorage(
                self._uri,
                engine_kwargs=_engine_settings(self._uri),
                heartbeat_interval=workers.heartbeat_interval_s,
                grace_period=workers.grace_s,
                heartbeat_stale_trial_callback=on_stale,
            )
        except ImportError as error:
            shown, found = mask_password(self._uri), str(error.__cause__ or error)
            if not shown.startswith("postgresql"):
                raise StudyError(shown, action="loading its driver", found=found) from error
            library = getattr(error.__cause__, "name", None) or "psycopg"
            raise MissingExtraError(f"hpo.storage {shown}", library=library, extra="postgres") from error


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("the sweep", library="optuna", extra="hpo") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _find_lock(storage: str) -> Path | None:
    path = find_sqlite_path(storage)
    return Path(f"{path}.lock") if path else None


def _engine_settings(storage: str) -> dict[str, Any]:
    kind = dialect_of(storage)
    if kind == SQLITE:
        return {"connect_args": {"timeout": SQLITE_TIMEOUT_S}}
    if kind in {"postgresql", "mysql"}:
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}}
    return {"pool_pre_ping": True}


def _describe(error: BaseException) -> str:
    """Return one line of the database's error without password; Optuna's own error has no cause."""
    cause = error.__cause__ or error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return mask_password(lines[0])[:MAX_SHOWN] if lines else type(cause).__name__

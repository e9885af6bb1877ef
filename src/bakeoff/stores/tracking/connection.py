"""Connection to MLflow: the one function that makes its client, and the checks before it."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bakeoff.errors import TrackingError
from bakeoff.stores.tracking.databases import check_tables, explain_schema
from bakeoff.stores.tracking.faults import describe_fault
from bakeoff.stores.tracking.versions import check_installed
from bakeoff.uris import mask_password

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

BUDGET_S = 15.0
_COLLISION = re.compile(r"already exists|UniqueViolation")
_COLLISION_WAITS_S = (1.0, 2.0, 4.0)
# By default MLflow retries silently for minutes, and sends telemetry. Here only ``Tracker.call`` retries, and
# reports each retry. The timeout leaves room for a slow page of runs.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{BUDGET_S:.0f}",
}
_FORCED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout carries our results
}


def create_client(uri: str) -> MlflowClient:
    """Make the MLflow client; one for a server connects at its first request, one for a database at once.

    Raises:
        TrackingError: MLflow does not support the URI, or a database does not answer, is not an MLflow store
            or belongs to another version.
        UnsuitableLibraryError: bakeoff does not support the installed version of MLflow.
    """
    check_installed()
    _set_environment()
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils as mlflow_database
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("alembic", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It would try ten times, 100 s in all, and log the error each time.
    mlflow_database.MAX_RETRY_COUNT = 2
    logging.getLogger(mlflow_database.__name__).setLevel(logging.CRITICAL)
    try:
        check_tables(uri)
        return _open_store(uri)
    except ImportError as error:
        found = f"{describe_fault(error)}: its driver is not installed"
        fix = "install the driver into bakeoff's environment"
        raise TrackingError(mask_password(uri), action="opening it", found=found, safe=fix) from error
    except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
        found, fix = describe_fault(error), ""
        if "filesystem tracking backend" in str(error):
            found = "MLflow no longer serves file stores such as ./mlruns"
            fix = (
                "set tracking.uri to a database or a server, such as sqlite:///mlflow.db; "
                "move existing runs with `mlflow migrate-filestore`"
            )
        found, fix = explain_schema(str(error)) or (found, fix)
        raise TrackingError(mask_password(uri), action="opening it", found=found, safe=fix) from error


@contextmanager
def borrowing_process() -> Iterator[None]:
    """Use MLflow in a process of the user for a while; its variables are as before afterwards.

    Otherwise the user's own requests to MLflow would have no retries, and log no system metrics.
    """
    before = {name: os.environ.get(name) for name in (*_ENVIRONMENT, *_FORCED)}
    _set_environment()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _set_environment() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(_FORCED)


def _open_store(uri: str) -> MlflowClient:
    """Open a store; wait if another process is making the tables of a new one."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    for wait_s in _COLLISION_WAITS_S:
        try:
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
        except (MlflowException, SQLAlchemyError) as error:
            if not _COLLISION.search(str(error)):
                raise
            time.sleep(wait_s)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)

"""Supported MLflow versions: of the installed library, and of a server."""

from __future__ import annotations

import re
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version

from bakeoff.errors import UnsuitableLibraryError

NEEDED_HERE = ">=3.17,<4"  # as pyproject.toml has it
# The pipeline ran against servers of 2.9.2 and 3.17.2; 2.0.1 and 1.30.1 refuse queries that it needs.
OLDEST_SERVER = "2.9"
TIMEOUT_S = 5.0
_OLDEST, _UNTIL = (3, 17), (4, 0)
_VERSION = re.compile(r"\d+\.\d+[\w.]{0,20}")
# Answers of a server to a request, or a part of one, that its version does not know.
_UNKNOWN_TO_IT = ("ENDPOINT_NOT_FOUND", "INVALID_PARAMETER_VALUE", "NOT_IMPLEMENTED", "BAD_REQUEST")


def check_installed() -> None:
    """Check the version of the installed MLflow, without importing it.

    MLflow's code is in one package or in two, and either may have been updated on its own.

    Raises:
        UnsuitableLibraryError: The version is older or newer than bakeoff supports.
    """
    for name in ("mlflow", "mlflow-skinny"):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if not _OLDEST <= _release(found) < _UNTIL:
            raise UnsuitableLibraryError(name, found=found, needed=NEEDED_HERE)


def is_server(uri: str) -> bool:
    """Return whether a store is a server, not a database or a file."""
    return uri.startswith(("http://", "https://"))


def read_server_version(uri: str) -> str | None:
    """Read the version of the MLflow server at a URI, with the login that MLflow's client would use.

    Returns:
        The version. Empty if the server does not know the request, as old ones do not. None if it does not
        answer, for example without rights, and for a store without a server.
    """
    if not is_server(uri):
        return None
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri.rstrip("/")),  # type: ignore[no-untyped-call]
            "/version",
            "GET",
            max_retries=0,
            timeout=TIMEOUT_S,
            raise_on_status=False,
        )
    except (MlflowException, OSError, ValueError):
        return None
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return ""
    text = answer.text[:100].strip()
    return text if answer.status_code == HTTPStatus.OK and _VERSION.fullmatch(text) else None


def is_too_old(server: str) -> bool:
    """Return whether a server of this version is too old for bakeoff's requests."""
    return _release(server) < _release(OLDEST_SERVER)


def blame_server(uri: str, error: BaseException) -> str:
    """Return an addition to a fault that a too old server may have caused; else an empty text."""
    if getattr(error, "error_code", "") not in _UNKNOWN_TO_IT or not is_server(uri):
        return ""
    found = read_server_version(uri)
    needed = f"bakeoff needs MLflow {OLDEST_SERVER} or newer there"
    if found is None:
        return ""
    if not found:
        return f"; the server does not report its version, as old ones do not; {needed}"
    return f"; the server is MLflow {found}; {needed}" if is_too_old(found) else ""


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])

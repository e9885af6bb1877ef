"""Which MLflow bakeoff can use: the one installed here, and the one that a server runs."""

from __future__ import annotations

import re
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version

from bakeoff.errors import UnsuitableLibraryError

NEEDED_HERE = ">=3.17,<4"  # as pyproject.toml has it
# The pipeline was run against servers of 2.9.2 and 3.17.2; 2.0.1 and 1.30.1 refuse queries that it needs.
OLDEST_SERVER = "2.9"
TIMEOUT_S = 5.0
_OLDEST, _UNTIL = (3, 17), (4, 0)
_VERSION = re.compile(r"\d+\.\d+[\w.]{0,20}")
# What a server says to a request, or to a part of one, that its version does not know.
_UNKNOWN_TO_IT = ("ENDPOINT_NOT_FOUND", "INVALID_PARAMETER_VALUE", "NOT_IMPLEMENTED", "BAD_REQUEST")


def check_installed() -> None:
    """See that the MLflow that is installed is one that bakeoff is made for; it is not imported for that.

    Its code is in one package or in two; either may have been installed anew on its own.

    Raises:
        UnsuitableLibraryError: It is older or newer.
    """
    for name in ("mlflow", "mlflow-skinny"):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if not _OLDEST <= _release(found) < _UNTIL:
            raise UnsuitableLibraryError(name, found=found, needed=NEEDED_HERE)


def is_server(uri: str) -> bool:
    """Whether a store is a server's, not a database or a file."""
    return uri.startswith(("http://", "https://"))


def read_server_version(uri: str) -> str | None:
    """Version of the MLflow server at a URI, asked with the login that MLflow's client would use.

    Returns:
        Empty if the server does not know the question, as old ones do not; None if it does not answer it, for
        want of rights or whatever else, and for a store without server.
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
    """Whether a server of this version lacks what bakeoff asks for."""
    return _release(server) < _release(OLDEST_SERVER)


def blame_server(uri: str, error: BaseException) -> str:
    """What to add to a fault where a server too old for the request may be why; else nothing."""
    if getattr(error, "error_code", "") not in _UNKNOWN_TO_IT or not is_server(uri):
        return ""
    found = read_server_version(uri)
    needed = f"bakeoff needs MLflow {OLDEST_SERVER} or newer there"
    if found is None:
        return ""
    if not found:
        return f"; the server does not say which MLflow it is, as old ones do not; {needed}"
    return f"; the server is MLflow {found}; {needed}" if is_too_old(found) else ""


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])

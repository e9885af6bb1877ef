"""Faults of a tracking store in plain words and without passwords; some are worth another try."""

from __future__ import annotations

import re

from bakeoff.uris import mask_password

MAX_SHOWN = 300


class ForeignAnswerError(OSError):
    """An answer that reports success, but is not MLflow's answer to the request."""


_FINAL_CODES = frozenset(
    {
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "CUSTOMER_UNAUTHORIZED",
        "NOT_IMPLEMENTED",
        "BAD_REQUEST",
        "ENDPOINT_NOT_FOUND",
    }
)
_DENIED_CODES = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})
_FINAL_KINDS = (
    ForeignAnswerError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
# MLflow reports nearly every fault of a connection as INTERNAL_ERROR; only the text distinguishes them.
_NO_JSON = "not in a valid JSON format"
_NO_MESSAGE = "Failed to parse"
_OLD_SCHEMA = "out-of-date database schema"
_IN_WORDS = (
    (re.compile(r"too many 429 error responses"), "it answers 429: too many requests"),
    (re.compile(r"too many (\d{3}) error responses"), r"it answers with error \1"),
    (re.compile(r"Connection refused"), "connection refused: nothing listens there"),
    (re.compile(r"NameResolutionError|Name or service not known"), "no host has this name"),
    (re.compile(r"timed out|timeout exception"), "no answer in time"),
    (
        re.compile(r"RemoteDisconnected|Connection aborted|Connection broken|IncompleteRead|reset by peer"),
        "the connection broke off",
    ),
    (
        re.compile(_NO_JSON + r"\. Response body: (.{0,60})"),
        r"the answer is not JSON, but \1; check tracking.uri",
    ),
    (
        re.compile(_NO_MESSAGE + r" (\w+) field"),
        r"the answer is JSON, but not MLflow's: its field \1 is of another type; check tracking.uri",
    ),
    (
        re.compile(r"failed with error code 404"),
        "no MLflow API at this address (404); check tracking.uri",
    ),
    (re.compile(r"failed with error code (401|403)"), r"the server refuses these credentials (\1)"),
)


def describe_fault(error: BaseException) -> str:
    """Describe a fault in one line, without password."""
    text = str(error).strip()
    for pattern, words in _IN_WORDS:
        match = pattern.search(text)
        if match:
            return mask_password(match.expand(words))
    lines = text.splitlines()
    return mask_password(lines[0])[:MAX_SHOWN] if lines else type(error).__name__


def is_refusal(error: BaseException) -> bool:
    """Return whether rights or credentials are missing."""
    is_denied = getattr(error, "error_code", "") in _DENIED_CODES
    return is_denied or re.search(r"failed with error code (401|403)", str(error)) is not None


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed a little later."""
    if isinstance(error, (ImportError, *_FINAL_KINDS)) or getattr(error, "error_code", "") in _FINAL_CODES:
        return False
    text = str(error)
    return not any(final in text for final in (_NO_JSON, _NO_MESSAGE, _OLD_SCHEMA))

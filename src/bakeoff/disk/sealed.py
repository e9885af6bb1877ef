"""JSON documents that carry the digest of their own bytes as last member, so that any change shows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from bakeoff.plural import count
from bakeoff.record import Record

SomeRecord = TypeVar("SomeRecord", bound=Record)
SEAL = "sha256"
_VERSION = "format_version"
_BLANK = b"0" * 64
_END = re.compile(rb'"sha256": "(?P<digest>[0-9a-f]{64})"\n\}\n\Z')
_END_BYTES = 96


def seal_json(document: Mapping[str, Any]) -> bytes:
    """Write a document as indented JSON with the SHA-256 of all its other bytes; refuse NaN."""
    whole = {**document, SEAL: _BLANK.decode()}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    head, _, tail = text.rpartition(_BLANK)
    return head + hashlib.sha256(text).hexdigest().encode() + tail


def open_sealed(text: bytes) -> dict[str, Any]:
    """Read a document that ``seal_json`` wrote, without its digest.

    Raises:
        ValueError: A byte changed, or it carries no digest.
    """
    match = _END.search(text[-_END_BYTES:])
    if match is None:
        raise ValueError("its end with the digest is missing")
    head, _, tail = text.rpartition(match["digest"])
    if hashlib.sha256(head + _BLANK + tail).hexdigest().encode() != match["digest"]:
        raise ValueError("its content differs from its digest")
    try:
        document: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    del document[SEAL]
    return document


def read_sealed(text: bytes, kind: type[SomeRecord]) -> SomeRecord:
    """Read a record with a format version that ``seal_json`` wrote.

    Raises:
        ValueError: It is damaged, of another format, or another record. The message says what it is.
    """
    try:
        values = open_sealed(text)
    except ValueError as error:
        unsealed = _find_unsealed(text)
        if unsealed is None:
            raise ValueError(f"a damaged file ({error})") from error
        raise ValueError(f"a file of format {unsealed.get(_VERSION)!s:.20}, without a digest") from error
    return read_values(values, kind)


def read_values(values: Mapping[str, Any], kind: type[SomeRecord]) -> SomeRecord:
    """Read a record with a format version from its JSON values.

    Raises:
        ValueError: It is of another format, or another record. The message says what it is.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found, own = values.get(_VERSION), kind.model_fields[_VERSION].default
        if found != own:
            raise ValueError(f"a file of format {found!s:.20}, not {own}") from error
        raise ValueError(count(error.error_count(), "fault")) from error


def _find_unsealed(text: bytes) -> dict[str, Any] | None:
    """Find the document in a text that names no digest, as older versions wrote it; None if it is damaged."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and SEAL not in document else None

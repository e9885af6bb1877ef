"""JSON documents that carry the digest of their own bytes as last member, so that any change shows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"
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


def find_unsealed(text: bytes) -> dict[str, Any] | None:
    """Find the document in a text that names no digest, as older versions wrote it; None if it is damaged."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and SEAL not in document else None

"""What an MLflow server says of itself."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

TIMEOUT_S = 5.0
_VERSION = re.compile(r"\d+\.\d+[\w.]{0,20}")


def read_server_version(uri: str) -> str | None:
    """Version of the MLflow server at a URI; None for a store without server, or one that does not say it."""
    if not uri.startswith(("http://", "https://")):
        return None
    address = re.sub(r"://[^/@]*@", "://", uri).rstrip("/") + "/version"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http as checked above
            text = answer.read(100).decode("utf-8", "replace").strip()
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return text if _VERSION.fullmatch(text) else None

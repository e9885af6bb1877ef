"""Addresses of databases and servers: shown without passwords, probed before a driver waits for minutes."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 5.0
SQLITE = "sqlite"
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def mask_password(text: str) -> str:
    """Return a text to show: stars replace the passwords in its URIs."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&](?:password|passwd|pwd|token)=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)


def dialect_of(uri: str) -> str:
    """Return the database kind that a URI names, without its driver; for any other URI the scheme."""
    return uri.partition(":")[0].partition("+")[0]


def is_database(uri: str) -> bool:
    """Return whether a URI names a database, in a file or on a server."""
    return dialect_of(uri) in {SQLITE, *_DATABASE_PORTS}


def find_sqlite_path(uri: str) -> Path | None:
    """Return the path of a SQLite database, or None if no file holds it; driver and options do not count."""
    path = uri.partition(":///")[2].partition("?")[0]
    return Path(path) if dialect_of(uri) == SQLITE and path and not path.startswith(":memory:") else None


def knock(uri: str) -> None:
    """Connect to a database server's port, since its driver would wait silently for minutes.

    Raises:
        OSError: No server answers there.
    """
    parts = urlsplit(uri)
    default_port = _DATABASE_PORTS.get(dialect_of(parts.scheme))
    if default_port is not None and parts.hostname:
        address = (parts.hostname, parts.port or default_port)
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S).close()

"""Addresses of databases and servers: shown without passwords, tried before a driver waits for minutes."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 5.0
SQLITE = "sqlite"
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def mask_password(text: str) -> str:
    """A text for eyes: passwords in URIs replaced by stars."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&](?:password|passwd|pwd|token)=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)


def dialect_of(uri: str) -> str:
    """The kind of database that a URI names, without its driver; of another URI the scheme."""
    return uri.partition(":")[0].partition("+")[0]


def is_database(uri: str) -> bool:
    """Whether a URI is of a database, be it a file or a server's."""
    return dialect_of(uri) in {SQLITE, *_DATABASE_PORTS}


def find_sqlite_path(uri: str) -> Path | None:
    """The path of a SQLite database, whatever driver and options the URI names; None if it is in no file."""
    path = uri.partition(":///")[2].partition("?")[0]
    return Path(path) if dialect_of(uri) == SQLITE and path and not path.startswith(":memory:") else None


def knock(uri: str) -> None:
    """Connect to a database server's port: its driver would wait for minutes without a word.

    Raises:
        OSError: Nobody answers there.
    """
    parts = urlsplit(uri)
    default_port = _DATABASE_PORTS.get(dialect_of(parts.scheme))
    if default_port is not None and parts.hostname:
        address = (parts.hostname, parts.port or default_port)
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S).close()

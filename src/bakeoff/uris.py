"""Addresses of databases and servers: shown without passwords, probed before a driver waits for minutes."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 5.0
SQLITE = "sqlite"
_WEB = frozenset({"http", "https", "databricks"})
_TOKEN_CHARS = 16  # a user name of this length is taken for a token
# Every repetition is bounded, so that a long text costs no more than its length. A password may hold any
# character, also unescaped ones, up to the last @ of its word; or it holds blanks.
_SCHEME = r"(?<![\w+.-])(?P<scheme>[A-Za-z][\w+.-]{0,30})://"
_USER_AND_PASSWORD = re.compile(
    _SCHEME + r"(?P<user>[^:/\s]{0,300}):(?:\S{0,1000}@|(?!\d{1,5}(?:[/?#\s]|$))[^@\n]{1,200}@)"
)
_USER_ALONE = re.compile(_SCHEME + r"(?P<user>[^:/@\s]{1,1000})@")
_NAMED = re.compile(
    r"""(?P<name>(?<![A-Za-z])(?:[\w.-]{0,60}
        (?:password|passwd|pwd|token|secret|api[_-]?key|access[_-]?key|account[_-]?key|signature|credential)
        |sig)(?:["']?\s*=\s*|["']\s*:\s*))
    (?:"[^"\n]*"?|'[^'\n]*'?|[^\s&;,"')}\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}")
_KNOWN_TOKENS = re.compile(
    r"\b(?:dapi[0-9a-f]{20,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|hf_\w{16,}|sk-[\w-]{20,}"
    r"|AKIA[0-9A-Z]{12,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)"
)
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_PATH = re.compile(r"[\w./~%+-]*", re.ASCII)
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def mask_password(text: str) -> str:
    """Return a text to show: stars replace passwords, tokens and keys, in URIs and outside of them."""
    text = _USER_AND_PASSWORD.sub(_mask_user_and_password, text)
    text = _USER_ALONE.sub(_mask_user_alone, text)
    text = _NAMED.sub(r"\g<name>***", text)
    text = _HEADER.sub(r"\1 ***", text)
    return _KNOWN_TOKENS.sub("***", text)


def _mask_user_and_password(match: re.Match[str]) -> str:
    user = "***" if _is_token(match["scheme"], match["user"]) else match["user"]
    return f"{match['scheme']}://{user}:***@"


def _mask_user_alone(match: re.Match[str]) -> str:
    is_token = match["scheme"] in _WEB or _is_token(match["scheme"], match["user"])
    return f"{match['scheme']}://***@" if is_token else match[0]


def _is_token(scheme: str, user: str) -> bool:
    return scheme != SQLITE and len(user) >= _TOKEN_CHARS


def find_uri_fault(uri: str) -> str | None:
    """Find the reason that a URI cannot be parsed, or None; the reason repeats no part of it."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return (
            "not a valid URI; correct host and port, and write special characters of a password as "
            "urllib.parse.quote(password, safe='') does"
        )
    if parts.scheme in _WEB and not host:
        return "a URI without a host; write it as https://HOST:PORT"
    return None


def find_web_address(uri: str) -> str | None:
    """Return the address of a tracking server's pages, or None: a database has none.

    User, password, query and fragment are removed. A URI that still seems to hold a secret has no address.
    """
    if find_uri_fault(uri) is not None:
        return None
    parts = urlsplit(uri)
    host, path = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
    address = f"{parts.scheme.lower()}://{host}{path}"
    # Browsers read a backslash as a slash, and would go to another host than the one after the @.
    is_plain = "\\" not in uri and _HOST.fullmatch(host) is not None and _PATH.fullmatch(path) is not None
    is_web = parts.scheme.lower() in {"http", "https"}
    return address if is_web and is_plain and mask_password(address) == address else None


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

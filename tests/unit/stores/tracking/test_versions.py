"""Versions of MLflow: the one that is needed here, and that of a server, asked of a real one on loopback."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bakeoff.stores.tracking.versions import NEEDED_HERE, check_installed, is_too_old, read_server_version


@contextmanager
def serving(status: int, body: bytes, login: str | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = login in (None, self.headers["Authorization"])
            self.send_response(401 if not is_known else status if self.path == "/version" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the standard library
            del format, args

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"3.17.2", "3.17.2"),
        (200, b"4.0.0rc1\n", "4.0.0rc1"),
        (200, b"<html>log in</html>", None),
        (200, b"\xff\xfe", None),
        (500, b"3.17.2", None),
        (404, b"", ""),  # as servers that are too old for the question
        (401, b"", None),
    ],
)
def test_the_version_is_what_the_server_says_or_unknown(
    status: int, body: bytes, expected: str | None
) -> None:
    with serving(status, body) as address:
        assert read_server_version(f"http://user:secret@{address}/") == expected


def test_a_server_behind_a_login_is_asked_with_the_clients_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(200, b"3.17.2", login="Basic dXNlcjpzZWNyZXQ=") as address:
        assert read_server_version(f"http://{address}") is None
        assert read_server_version(f"http://user:secret@{address}") == "3.17.2"
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "user")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
        assert read_server_version(f"http://{address}") == "3.17.2"


@pytest.mark.parametrize(
    "uri", ["sqlite:///mlflow.db", "postgresql://host/db", "http://127.0.0.1:9", "http://["]
)
def test_a_store_without_a_server_that_answers_has_no_version(uri: str) -> None:
    assert read_server_version(uri) is None


def test_what_is_needed_here_is_what_the_package_asks_for_and_is_installed() -> None:
    text = (Path(__file__).parents[4] / "pyproject.toml").read_text(encoding="utf-8")
    assert f"mlflow{NEEDED_HERE}" in tomllib.loads(text)["project"]["dependencies"]
    check_installed()


def test_versions_are_compared_as_numbers() -> None:
    assert [is_too_old(text) for text in ("1.30.1", "2.8.1", "2.9.0", "2.22.0", "3.0.0rc1")] == [
        True,
        True,
        False,
        False,
        False,
    ]

"""The version of an MLflow server, asked of a real server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bakeoff.stores.tracking.server import read_server_version


@contextmanager
def serving(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/version" else 404)
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
        (404, b"", None),
    ],
)
def test_the_version_is_what_the_server_says_or_unknown(
    status: int, body: bytes, expected: str | None
) -> None:
    with serving(status, body) as address:
        assert read_server_version(f"http://user:secret@{address}/") == expected


@pytest.mark.parametrize(
    "uri", ["sqlite:///mlflow.db", "postgresql://host/db", "http://127.0.0.1:9", "http://["]
)
def test_a_store_without_a_server_that_answers_has_no_version(uri: str) -> None:
    assert read_server_version(uri) is None

"""A proxy before a real MLflow server, that spoils the requests which a test names."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

# What becomes of a request. Those of the first line reach the server, whose reply is lost, cut in half, or
# held back until the client has given up; "cut" ends the connection before, and the others are answers of
# something that stands in between.
Fault = Literal[
    "lost reply", "half a reply", "late reply",
    "cut", "500", "429", "401", "html", "other JSON", "wrong types", "403",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = (
    "lost reply", "half a reply", "late reply",
    "cut", "500", "429", "401", "html", "other JSON", "wrong types",
)  # fmt: skip
# Every field that a reply of MLflow has on its first level, as none of them is.
_FIELDS = (
    "experiment", "experiment_id", "experiments", "run", "runs", "run_info", "files", "registered_model",
    "model_version", "model_versions", "next_page_token", "root_uri",
)  # fmt: skip
_ANSWERS: dict[str, tuple[int, bytes]] = {
    "500": (500, b"oops"),
    "429": (429, b"slow down"),
    "401": (401, b"your login has expired"),
    "403": (403, b'{"error_code": "PERMISSION_DENIED", "message": "you may read, not write"}'),
    "html": (200, b"<html>the gateway is being repaired</html>"),
    "other JSON": (200, b'{"detail": "the gateway is being repaired"}'),
    "wrong types": (200, json.dumps({name: [7] for name in _FIELDS}).encode()),
}
_RETRY_AFTER = {"Retry-After": "600"}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Proxy(ThreadingHTTPServer):
    """Passes requests on; counts them.

    Attributes:
        spoils: Says what is wrong with the request of a number, counted from 0; None lets it pass.
        seen: Method and path of each request.
        is_writing: Whether the request of now changes something in MLflow.
    """

    daemon_threads = True

    def __init__(self, uri: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(uri)
        self.seen: list[str] = []
        self.spoils: Callable[[int], Fault | None] = lambda _: None
        self.is_writing = False
        self.lock = threading.Lock()

    @property
    def uri(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.server_port}"

    def begin(self, spoils: Callable[[int], Fault | None]) -> None:
        """Count anew, and spoil what is named."""
        with self.lock:
            self.seen, self.spoils = [], spoils


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            is_asking = self.command == "GET" or self.path.split("?")[0].endswith("/search")
            self.server.is_writing = not is_asking
            fault = self.server.spoils(len(self.server.seen))
            self.server.seen.append(f"{self.command} {self.path.split('?')[0]}")
        self.close_connection = True
        if fault == "cut":
            return
        if fault in _ANSWERS:
            self._answer(*_ANSWERS[fault], _RETRY_AFTER if fault == "429" else {})
            return
        target = self.server.target
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection.request(self.command, self.path, body, headers)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        if fault == "late reply":
            with suppress(OSError):
                self.connection.recv(1)  # nothing, when the client hangs up
        elif fault != "lost reply":
            self._answer(reply.status, content, dict(reply.getheaders()), is_half=fault == "half a reply")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names are the standard library's

    def _answer(self, status: int, body: bytes, headers: dict[str, str], *, is_half: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_half else body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def proxy_before(uri: str) -> Iterator[Proxy]:
    """A proxy before a server, as long as the body runs."""
    with Proxy(uri) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()

"""An HTTP server that gives a Rucio client the answers of a script, one after another, and keeps what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request: its method, its path with the query as sent, its headers."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Says:
    """One answer. `hang`: none, until the server ends. `drop`: the connection is closed without one."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"account": "alice"})
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False


def error(status: int, exception: str, message: str) -> Says:
    """As Rucio says it: in the headers and in the body."""
    body = {"ExceptionClass": exception, "ExceptionMessage": message}
    return Says(status, body, headers=dict(body))


class ScriptedRucio(ThreadingHTTPServer):
    """`script` is used up; after its end every request gets `otherwise`."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, _Handler)
        self.script: list[Says] = []
        self.otherwise = Says()
        self.asked: list[Asked] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def tokens(self) -> list[str]:
        return [entry.headers.get("X-Rucio-Auth-Token", "") for entry in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedRucio

    def _answer(self) -> None:
        rucio = self.server
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rucio.asked.append(Asked(self.command, self.path, dict(self.headers)))
        says = rucio.script.pop(0) if rucio.script else rucio.otherwise
        if says.hang:
            rucio.released.wait(30)
        if says.hang or says.drop:
            self.close_connection = True
            return
        body = says.body if isinstance(says.body, bytes) else json.dumps(says.body).encode()
        self.send_response(says.status)
        headers = {"Content-Type": "application/json", **says.headers, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def scripted_rucio() -> Iterator[ScriptedRucio]:
    """A running one."""
    server = ScriptedRucio()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()

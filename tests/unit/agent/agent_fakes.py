"""A hub that only knows the two routes of an agent, and real agents that ask it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.agent.command import command

TOKEN = "agent-token-0123456789abcdef"
SECONDS = 10.0  # until a test that waits gives up


def entry(path: str, content: bytes | str, *, mode: str = "0600", when: str = "always", root: str = "files") -> dict:
    """One file as it stands in a bundle."""
    data = content.encode() if isinstance(content, str) else content
    return {"root": root, "path": path, "mode": mode, "when": when, "content": base64.b64encode(data).decode()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        hub: FakeHub = self.server.hub
        with hub.changed:
            hub.asked.append(dict(self.headers))
            hub.changed.notify_all()
        if hub.fault:
            hub.fault(self)
            return
        body = json.dumps(hub.bundle()).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            hub.unchanged += 1
            self.answer(304, b"", {"Dlaas-Ask-Again": str(hub.ask_again_seconds), "ETag": etag})
        else:
            self.answer(200, body, {"ETag": etag})

    def do_POST(self) -> None:
        hub: FakeHub = self.server.hub
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with hub.changed:
            hub.reports.append(content)
            hub.changed.notify_all()
        self.answer(204, b"", {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, *args: object) -> None:
        pass  # an agent that was killed in the middle


class FakeHub:
    """What it answers is set by attributes; what it was asked and told is kept."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.files: list[dict] | Callable[[], list[dict]] = [entry("tokens/rucio", "rucio-token")]
        self.mounts: list[dict] = []
        self.extra: dict[str, Any] = {}
        self.ask_again_seconds = 0.05
        self.fault: Callable[[Handler], None] | None = None
        self.asked: list[dict[str, str]] = []
        self.reports: list[dict] = []
        self.unchanged = 0
        self.changed = threading.Condition()
        self._tls = tls
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hub/"

    def bundle(self) -> dict[str, Any]:
        files = self.files() if callable(self.files) else self.files
        known = {"version": 1, "ask_again_seconds": self.ask_again_seconds, "ready": True, "not_ready_because": ""}
        return {**known, "files": files, "mounts": self.mounts, **self.extra}

    def start(self) -> None:
        self._server = Server(("127.0.0.1", self.port), Handler)
        self._server.hub = self
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, what: Callable[[], object]) -> None:
        """Until `what()` is true; it is looked at after each question and report."""
        with self.changed:
            assert self.changed.wait_for(what, SECONDS), "the agent did not do it"

    def wait_questions(self, count: int) -> None:
        """Until `count` more questions came in, so that what the one before brought is written."""
        goal = len(self.asked) + count
        self.wait(lambda: len(self.asked) >= goal)


class AgentProcess:
    """A real agent with its folders; `ready` is what it said about its start, None when it ended without a word."""

    def __init__(self, hub_url: str, folder: Path, **options: Any) -> None:
        self.files, self.cache = folder / "files", folder / "cache"
        reading, writing = os.pipe()
        credential, secret = os.pipe()
        os.write(secret, TOKEN.encode() + b"\n")
        os.close(secret)
        known: dict[str, Any] = {"credential_fd": credential, "start_timeout_seconds": 5}
        arguments = command(
            hub_url=hub_url, files=str(self.files), cache=str(self.cache), ready_fd=writing, **known | options
        )
        self.process = subprocess.Popen(arguments, pass_fds=(writing, credential), stderr=subprocess.PIPE)
        os.close(writing)
        os.close(credential)
        self.pipe = os.fdopen(reading)

    def ready(self) -> dict | None:
        line = self.pipe.readline()
        return json.loads(line) if line else None

    def end(self) -> str:
        """Ends it and returns what it wrote on stderr."""
        self.process.terminate()
        stderr = self.process.communicate(timeout=SECONDS)[1].decode()
        self.pipe.close()
        return stderr

    def read(self, path: str) -> str:
        return (self.files / path).read_text()

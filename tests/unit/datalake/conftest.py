"""A server's files on disk, and a Rucio server that answers `whoami` as the real one does."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))  # bundle_samples


class FakeRucio(ThreadingHTTPServer):
    """`behaviour`: ok, refused (401 and then a login page, as for a token that Rucio does not know), or hang."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = "ok"
        self.account = "alice"
        self.tokens: list[str] = []
        self.usage: list[dict[str, object]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeRucio

    def do_GET(self) -> None:
        rucio = self.server
        if rucio.behaviour == "hang":
            rucio.released.wait(30)
            return
        if self.path.startswith("/auth/oidc"):
            self._answer(200, {"X-Rucio-OIDC-Auth-URL": f"{rucio.url}/login"})
        elif rucio.behaviour == "refused":
            body = b'{"ExceptionClass": "CannotAuthenticate", "ExceptionMessage": "Cannot authenticate with given JWT"}'
            self._answer(401, {"ExceptionClass": "CannotAuthenticate", "Content-Type": "application/json"}, body)
        elif self.path == "/accounts/whoami":
            rucio.tokens.append(self.headers["X-Rucio-Auth-Token"])
            self._answer(303, {"Location": f"{rucio.url}/accounts/{rucio.account}"})
        elif self.path.endswith("/usage/local"):
            lines = [json.dumps(entry) + "\n" for entry in rucio.usage]
            self._answer(200, {"Content-Type": "application/x-json-stream"}, "".join(lines).encode())
        else:
            body = f'{{"account": "{rucio.account}", "status": "ACTIVE"}}'.encode()
            self._answer(200, {"Content-Type": "application/json"}, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _served() -> Iterator[FakeRucio]:
    server = FakeRucio()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def rucio() -> Iterator[FakeRucio]:
    yield from _served()


@pytest.fixture
def ska() -> Iterator[FakeRucio]:
    yield from _served()


@pytest.fixture
def lake(tmp_path: Path, rucio: FakeRucio, ska: FakeRucio, monkeypatch: pytest.MonkeyPatch):
    """Puts a server's files on disk and this process into its environment; `kwargs` as for `bundle_samples.write`."""
    from bundle_samples import choice, clean_environ, in_an_hour, tokens, write

    from jupyterhub_dlaas.bundle.environment import environment

    (tmp_path / "eos").mkdir()
    (tmp_path / "scratch").mkdir()

    def put(states=None, **kwargs):
        folders = {"eos": str(tmp_path / "eos"), "scratch": str(tmp_path / "scratch")}
        chosen = choice(rucio=rucio.url, ska=ska.url, **folders)
        states = tokens(expires_at=in_an_hour()) if states is None else states
        places = write(tmp_path, chosen, states, **kwargs)
        base = clean_environ(tmp_path)
        for name in ("RUCIO_CONFIG", "DLAAS_DIR", "VIRTUAL_ENV"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**base, **environment(chosen, places, base)}.items():
            monkeypatch.setenv(name, value)
        return places

    return put

"""`datalake auth` in a server of a real hub: what it switches stays switched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio
from support.scene import ESCAPE, Scene, Server, until
from support.x509_samples import proxy_pem, put
from traitlets.config import Config

pytestmark = pytest.mark.asyncio(loop_scope="module")


def configure(c: Config) -> None:
    c.DLaaSConfig.vos["escape"]["hosts"] = ["127.0.0.1"]


class Rucio(BaseHTTPRequestHandler):
    """Takes every sign-in, and tells who it was."""

    def do_GET(self) -> None:
        headers = {"Content-Length": "0"}
        body = b""
        if self.path.startswith("/auth/"):
            headers["X-Rucio-Auth-Token"] = "signed-in"
        elif self.path == "/accounts/whoami":
            headers["Location"] = "/accounts/somebody"
        else:
            # The user's own name: the header says for which account the client asks.
            body = f'{{"account": "{self.headers["X-Rucio-Account"]}"}}'.encode()
            headers |= {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        self.send_response(303 if "Location" in headers else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def rucio_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Rucio) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass
class Terminal:
    """A terminal of a server with a proxy in its folder."""

    server: Server
    environ: dict[str, str]

    async def auth(self, *arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "jupyterhub_dlaas.datalake.cli", "auth", *arguments]

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, env=self.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )

        done = await asyncio.to_thread(run)
        return done.returncode, done.stdout, done.stderr

    async def in_rucio_cfg(self) -> str:
        text = await self.server.text("rucio/etc/rucio.cfg") or ""
        return text.partition("auth_type = ")[2].partition("\n")[0]


@pytest_asyncio.fixture(loop_scope="module")
async def terminal(lake: Scene, rucio_url: str, tmp_path: Path) -> AsyncIterator[Terminal]:
    text = ESCAPE.replace("https://rucio.example.org", rucio_url)
    (lake.folder / "catalogue.d/escape.yaml").write_text(text.format(folder=lake.folder))
    lake.hub.dlaas.catalogues.reload()
    _, server = await lake.working()
    proxy = put(tmp_path / "x509up", proxy_pem())
    environ = {**await server.environ(), "X509_USER_PROXY": str(proxy), "TMPDIR": str(tmp_path)}
    environ.setdefault("PATH", os.environ["PATH"])
    yield Terminal(server, environ)


async def test_it_shows_what_the_hub_allows(terminal: Terminal) -> None:
    code, out, err = await terminal.auth()
    assert (code, out.startswith("Rucio auth type: oidc\nAllowed here: oidc, x509_proxy\n")) == (0, True), out + err


async def test_a_switch_holds_over_later_bundles_and_a_restart_of_the_hub(lake: Scene, terminal: Terminal) -> None:
    server = terminal.server
    code, out, err = await terminal.auth("x509_proxy")
    assert (code, ", by x509_proxy." in out) == (0, True), out + err
    before = await server.text("tokens/rucio")
    await lake.pass_time(3660)
    await until(lambda: server.has_token(other_than=before))
    assert await terminal.in_rucio_cfg() == "x509_proxy"
    before = await server.text("tokens/rucio")
    await lake.hub.restart()
    await lake.pass_time(3660)
    await until(lambda: server.has_token(other_than=before))
    assert await terminal.in_rucio_cfg() == "x509_proxy"
    assert (await terminal.auth())[1].startswith("Rucio auth type: x509_proxy\n")


async def test_it_goes_back(terminal: Terminal) -> None:
    await terminal.auth("x509_proxy")
    code, out, err = await terminal.auth("oidc")
    assert (code, ", by oidc." in out) == (0, True), out + err
    assert await terminal.in_rucio_cfg() == "oidc"


async def test_what_the_environment_does_not_allow_is_said_by_the_hub(terminal: Terminal) -> None:
    code, _, err = await terminal.auth("x509")
    assert code == 2
    assert err.startswith("The auth type cannot be 'x509'. It is one of: oidc, x509_proxy.\n")

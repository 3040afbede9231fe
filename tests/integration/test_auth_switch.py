"""`datalake auth` in a server of a real hub: what it switches stays switched."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio
from support.page import commands, console, differences, typed
from support.scene import ESCAPE, Scene, Server, until
from support.x509_samples import person, proxy_pem, put
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


async def test_every_command_of_the_how_to_prints_what_it_says(terminal: Terminal, tmp_path: Path) -> None:
    person_, proxy, home = terminal.server.person.name, tmp_path / "proxy", tmp_path / "home"
    on_page = "/tmp/x509up_u1000"
    script = f'#!/bin/sh\necho "Enter GRID pass phrase:"\nfor at; do :; done\ncp -p {tmp_path}/made "$at"\n'
    put(tmp_path / "made", proxy_pem(vo="escape"))
    put(tmp_path / "bin/voms-proxy-init", script.encode(), 0o700)
    home.mkdir()
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), terminal.environ["PATH"]])
    environ = {**terminal.environ, "HOME": str(home), "PATH": path, "X509_USER_PROXY": str(proxy)}

    def run(command: str) -> tuple[int, str]:
        if "--voms" in command:
            put(home / ".globus/usercert.pem", person().certificate_pem())
            put(home / ".globus/userkey.pem", person().key_pem(b"secret"))
        if command.startswith("chmod"):
            # The page's second way begins at oidc, too, with a proxy as it was brought here.
            typed("datalake auth oidc", environ, home)
            put(proxy, proxy_pem(), 0o644)
        code, printed = typed(command.replace(on_page, str(proxy)), environ, home)
        printed = printed.replace(str(proxy), on_page).replace(f" {person_}, by", " ada, by")
        # Said because the proxy of this test is not at the place that all of a machine's processes share.
        return code, re.sub(r"^Notebooks look for a proxy in .*\n", "", printed, flags=re.M)

    text = console("how-to/certificate.md")
    wrong = await asyncio.to_thread(differences, text, run)
    assert not wrong, "\n".join(wrong)
    assert len(commands(text)) == 5

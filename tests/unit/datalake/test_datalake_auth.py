"""`datalake auth` switches at the hub, and only to what works."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bundle_samples import choice, clean_environ, in_an_hour, tokens, write
from support.x509_samples import ADA, person, proxy_pem, put

from jupyterhub_dlaas.bundle.environment import environment


class Peer(ThreadingHTTPServer):
    """A hub, and behind it an agent that follows at once (`agent`), and a Rucio that knows who signs in how."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.allowed, self.agent = folder, ["oidc", "x509", "x509_proxy"], True
        self.asked: list[str] = []
        self.refuses = ""
        self.hub_status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def deliver(self, auth_type: str) -> None:
        """The bundle with this auth type, put in place as the agent does."""
        states = tokens(expires_at=in_an_hour())
        write(self.folder, choice(rucio=self.url, auth_types=", ".join(self.allowed)), states, auth_type=auth_type)

    @property
    def delivered(self) -> str:
        text = (self.folder / "dlaas/rucio/etc/rucio.cfg").read_text()
        return text.partition("auth_type = ")[2].partition("\n")[0]


class Handler(BaseHTTPRequestHandler):
    server: Peer

    def do_GET(self) -> None:
        peer = self.server
        if self.path == "/hub/dlaas/status":
            servers = [{"name": name, "auth_types": peer.allowed if not name else []} for name in ("other", "")]
            self._say(200, {"servers": servers})
        elif self.path.startswith("/auth/"):
            kind = self.path.removeprefix("/auth/")
            if kind == peer.refuses:
                self._say(401, {}, ExceptionClass="CannotAuthenticate", ExceptionMessage="unknown subject")
            else:
                headers = {"X-Rucio-Auth-Token": f"by-{kind}", "X-Rucio-Auth-Token-Expires": ""}
                self._say(200, {}, **headers)
        elif self.path == "/accounts/whoami":
            self._say(303, {}, Location=f"{peer.url}/accounts/alice")
        else:
            self._say(200, {"account": "alice"})

    def do_POST(self) -> None:
        peer = self.server
        auth_type = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth_type"]
        assert self.headers["Authorization"] == "token t"
        peer.asked.append(f"{self.path} {auth_type}")
        if peer.hub_status != 200:
            self._say(peer.hub_status, {})
        elif auth_type not in peer.allowed:
            sentence = f"The auth type cannot be {auth_type!r}. It is one of: {', '.join(peer.allowed)}."
            self._say(400, {"status": 400, "message": sentence})
        else:
            if peer.agent:
                peer.deliver(auth_type)
            self._say(200, {"server": "", "auth_type": auth_type})

    def _say(self, status: int, document: object, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Session:
    """A terminal of a server."""

    def __init__(self, folder: Path, peer: Peer) -> None:
        self.folder, self.peer = folder, peer
        base = clean_environ(folder)
        places = write(folder, choice(rucio=peer.url), tokens(expires_at=in_an_hour()))
        self.environ = {
            **base,
            **environment(choice(rucio=peer.url), places, base),
            "PATH": f"{folder}/bin:{base['PATH']}",
            "JUPYTERHUB_API_URL": f"{peer.url}/hub/api",
            "JUPYTERHUB_API_TOKEN": "t",
            "X509_USER_PROXY": str(self.proxy),
            "http_proxy": "http://127.0.0.1:9",
            "no_proxy": "127.0.0.1",
        }

    @property
    def proxy(self) -> Path:
        return self.folder / "x509up"

    def auth(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        command = [sys.executable, "-m", "jupyterhub_dlaas.datalake.cli", "auth", *arguments]
        done = subprocess.run(
            command, env=self.environ, cwd=self.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Peer(tmp_path) as peer:
        threading.Thread(target=peer.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield Session(tmp_path, peer)
        peer.shutdown()


def test_it_shows_the_type_what_is_allowed_and_what_is_there(session: Session):
    put(session.proxy, proxy_pem(vo="escape"))
    code, out, _ = session.auth()
    assert code == 0
    assert "Rucio auth type: oidc\nAllowed here: oidc, x509, x509_proxy\n" in out
    assert f"Proxy: {session.proxy}: {ADA}, valid until " in out and ", for escape\n" in out
    assert "Certificate: none (~/.globus)" in out


def test_json_has_the_end_of_the_proxy_and_what_is_wrong_with_it(session: Session):
    put(session.proxy, proxy_pem(), 0o644)
    code, out, _ = session.auth("--json")
    shown = json.loads(out)
    assert (code, shown["auth_type"], shown["certificate"]) == (0, "oidc", None)
    assert "Others can read the key" in shown["proxy"]["failure"]


def test_a_switch_is_made_at_the_hub_delivered_and_accepted_by_rucio(session: Session):
    put(session.proxy, proxy_pem())
    code, out, err = session.auth("x509_proxy")
    assert code == 0, err
    assert session.peer.asked == ["/hub/dlaas/servers/auth-type x509_proxy"]
    assert session.peer.delivered == "x509_proxy"
    assert out.startswith("Rucio knows you as alice, by x509_proxy.\n")


def test_a_proxy_that_only_this_terminal_knows_is_pointed_out(session: Session):
    put(session.proxy, proxy_pem())
    assert "copy it there, with mode 600" in session.auth("x509_proxy")[2]


def test_a_named_server_switches_itself(session: Session):
    put(session.proxy, proxy_pem())
    session.environ["JUPYTERHUB_SERVER_NAME"] = "second one"
    session.auth("x509_proxy")
    assert session.peer.asked == ["/hub/dlaas/servers/second%20one/auth-type x509_proxy"]


def test_it_goes_back_to_oidc(session: Session):
    session.peer.deliver("x509_proxy")
    code, out, err = session.auth("oidc")
    assert (code, out) == (0, "Rucio knows you as alice, by oidc.\n"), err


def test_a_certificate_with_its_key_will_do(session: Session):
    ada = person()
    put(session.folder / ".globus/usercert.pem", ada.certificate_pem(), 0o644)
    put(session.folder / ".globus/userkey.pem", ada.key_pem(), 0o400)
    code, out, err = session.auth("x509", "--json")
    assert code == 0, err
    assert json.loads(out)["credential"]["subject"] == ADA


UNUSABLE = {
    "that others can read": (proxy_pem(), 0o640, 4, "Type: chmod 600"),
    "that has expired": (proxy_pem(hours=-1), 0o600, 4, "expired at"),
    "with another key": (proxy_pem(key=person()), 0o600, 7, "is not that of the proxy"),
}


@pytest.mark.parametrize("which", UNUSABLE)
def test_nothing_is_switched_with_a_proxy(session: Session, which: str):
    content, mode, expected, said = UNUSABLE[which]
    put(session.proxy, content, mode)
    code, _, err = session.auth("x509_proxy")
    assert (code, said in err) == (expected, True), err
    assert session.peer.asked == []


def test_without_a_proxy_it_says_what_to_do(session: Session):
    code, _, err = session.auth("x509_proxy", "--voms", "escape")
    assert (code, session.peer.asked) == (3, [])
    assert "voms-proxy-init --voms escape --out x509up" in err


def makes_a_proxy(session: Session, vo: str = "escape") -> None:
    """A `voms-proxy-init` that makes a real proxy."""
    put(session.folder / "made", proxy_pem(vo=vo))
    script = f'#!/bin/sh\necho Enter GRID pass phrase:\nfor at; do :; done\ncp -p {session.folder}/made "$at"\n'
    put(session.folder / "bin/voms-proxy-init", script.encode(), 0o700)


def test_a_missing_proxy_is_made(session: Session):
    makes_a_proxy(session)
    code, out, err = session.auth("x509_proxy", "--voms", "escape")
    assert (code, "for escape" in out) == (0, True), err
    assert ("pass phrase" in err, "pass phrase" in out) == (True, False)


def test_a_proxy_without_the_vo_is_made_anew(session: Session):
    put(session.proxy, proxy_pem())
    makes_a_proxy(session)
    assert "for escape" in session.auth("x509_proxy", "--voms", "escape")[1]


def test_a_proxy_without_the_vo_where_none_can_be_made_is_said(session: Session):
    put(session.proxy, proxy_pem(vo="ska"))
    code, _, err = session.auth("x509_proxy", "--voms", "escape")
    assert (code, session.peer.asked) == (4, [])
    assert err.startswith(f"The proxy in {session.proxy} carries no membership of escape.\n")


def test_an_expired_proxy_is_made_anew(session: Session):
    put(session.proxy, proxy_pem(hours=-1))
    makes_a_proxy(session)
    assert session.auth("x509_proxy")[0] == 0


def test_what_the_environment_does_not_allow_is_said_in_the_hubs_words(session: Session):
    session.peer.allowed = ["oidc"]
    code, _, err = session.auth("x509_proxy")
    assert code == 2
    assert err.startswith("The auth type cannot be 'x509_proxy'. It is one of: oidc.\n")


def test_a_hub_that_fails_switches_nothing(session: Session):
    put(session.proxy, proxy_pem())
    session.peer.hub_status = 503
    code, _, err = session.auth("x509_proxy")
    assert (code, "Nothing was switched." in err) == (6, True), err


def test_a_rucio_that_refuses_is_said_with_the_way_back(session: Session):
    put(session.proxy, proxy_pem())
    session.peer.refuses = "x509_proxy"
    code, _, err = session.auth("x509_proxy")
    assert (code, "To go back, type: datalake auth oidc" in err) == (4, True), err


def test_files_that_do_not_follow_are_waited_for_and_then_said(session: Session, monkeypatch: pytest.MonkeyPatch):
    from jupyterhub_dlaas.datalake import auth
    from jupyterhub_dlaas.datalake.failure import Code, Failure

    put(session.proxy, proxy_pem())
    session.peer.agent = False
    waited: list[str] = []
    with pytest.raises(Failure) as raised:
        auth.switch("x509_proxy", environ=session.environ, wait_seconds=0.1, on_wait=lambda: waited.append("once"))
    assert (raised.value.code, waited) == (Code.FAILED, ["once"])
    assert "have not followed" in raised.value.sentence


def test_outside_of_a_server_it_says_so(session: Session):
    del session.environ["DLAAS_DIR"]
    code, _, err = session.auth()
    assert (code, "This is not a data lake server" in err) == (2, True)


def test_no_token_is_printed(session: Session):
    put(session.proxy, proxy_pem())
    shown = "".join(map(str, (*session.auth(), *session.auth("x509_proxy"), *session.auth("--json"))))
    assert "PRIVATE KEY" not in shown
    assert "by-x509_proxy" not in shown


def test_voms_goes_with_a_proxy(session: Session):
    assert session.auth("oidc", "--voms", "escape")[0] == 2

"""Which tokens the protected storage accepts, over root and https."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_dlaas.demo.iam.keys import Keys
from storage.commands import NO_LOGIN, NOT_ALLOWED, https, run, xrootd_environment
from storage.layout import SITE_T, STORAGE_AUDIENCE, STORAGE_SCOPES, TOKEN_ORIGIN
from storage.plane import Lab
from storage.tokens import Mint

REFUSED = {
    "another audience": ({"audience": "rucio"}, NOT_ALLOWED),
    "no audience": ({"audience": None}, NO_LOGIN),
    "no storage scope": ({"scope": "openid profile"}, NOT_ALLOWED),
    "expired": ({"seconds": -60}, NO_LOGIN),
    "another issuer": ({"iss": "http://127.0.0.1:9/"}, NO_LOGIN),
    "no version of the WLCG's profile": ({"wlcg.ver": None}, NOT_ALLOWED),
    "none": (None, NO_LOGIN),
    "another key": ("another key", NO_LOGIN),
}


def _token(lab: Lab, settings: dict[str, Any] | str | None) -> str | None:
    if settings is None:
        return None
    if isinstance(settings, str):
        other = Keys("RSA")
        other.rotate(keep_old=False)
        stranger = Keys("RSA", [{**other.private()[0], "kid": "rsa1"}])
        return Mint(lab.mint.issuer, stranger).storage("alice")
    wanted: dict[str, Any] = {"audience": STORAGE_AUDIENCE, "scope": STORAGE_SCOPES, **settings}
    return lab.mint.token("alice", **wanted)


class Attempt:
    """Everything that somebody with this token may try; `root` gives exit codes of xrdcp, `https` status codes."""

    def __init__(self, lab: Lab, token: str | None, folder: Path) -> None:
        self.lab, self.token = lab, token
        self.environment = xrootd_environment(lab.layout, folder, token)
        self.source, self.here = folder / "source", folder / "here"
        self.source.write_text("something")
        self.name = f"{random.getrandbits(64):x}"
        seed = lab.layout.data(TOKEN_ORIGIN) / "site-t" / "seed"
        if not seed.exists():
            seed.write_text("seed")

    def root_write(self, name: str = "") -> int:
        url = self.lab.layout.pfn(SITE_T, name or self.name)
        return run("xrdcp", "-f", "-N", self.source, url, env=self.environment).code

    def root_read(self) -> int:
        return run("xrdcp", "-f", "-N", self.lab.layout.pfn(SITE_T, "seed"), self.here, env=self.environment).code

    def https(self, method: str, path: str = "/site-t/seed", content: bytes | None = None) -> int:
        return https(self.lab.layout, method, path, self.token, content)


@pytest.fixture
def attempt(lab: Lab, tmp_path: Path) -> Any:
    return lambda settings: Attempt(lab, _token(lab, settings), tmp_path)


def test_the_storages_own_token_passes_over_root(attempt: Any) -> None:
    somebody = attempt({})
    assert (somebody.root_write(), somebody.root_read()) == (0, 0)


def test_the_storages_own_token_passes_over_https(attempt: Any) -> None:
    somebody = attempt({})
    path = f"/site-t/{somebody.name}"
    assert somebody.https("PUT", path, b"something") in (200, 201)
    assert somebody.https("GET", path) == 200
    assert somebody.https("DELETE", path) in (200, 204)


def test_one_token_may_be_for_rucio_and_the_storage(attempt: Any) -> None:
    somebody = attempt({"audience": ["rucio", STORAGE_AUDIENCE], "scope": f"openid profile {STORAGE_SCOPES}"})
    assert (somebody.root_write(), somebody.https("GET")) == (0, 200)


@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_token_is_refused_over_root(attempt: Any, kind: str) -> None:
    settings, code = REFUSED[kind]
    somebody = attempt(settings)
    assert (somebody.root_write(), somebody.root_read()) == (code, code)


@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_token_is_refused_over_https(attempt: Any, kind: str) -> None:
    somebody = attempt(REFUSED[kind][0])
    assert somebody.https("GET") == 403
    assert somebody.https("PUT", f"/site-t/{somebody.name}", b"something") == 403


def test_a_scope_to_read_does_not_let_write(attempt: Any) -> None:
    somebody = attempt({"scope": "storage.read:/"})
    assert (somebody.root_read(), somebody.https("GET")) == (0, 200)
    assert (somebody.root_write(), somebody.https("PUT", "/site-t/new", b"x")) == (NOT_ALLOWED, 403)


def test_a_scope_ends_at_its_path(attempt: Any) -> None:
    somebody = attempt({"scope": "storage.read:/ storage.modify:/site-t/alice"})
    assert somebody.root_write("alice/mine") == 0
    assert somebody.root_write("bob/not-mine") == NOT_ALLOWED


def test_a_token_file_that_others_can_read_is_not_used(lab: Lab, attempt: Any) -> None:
    """XrdCl says only that no protocols are left to try."""
    somebody = attempt({})
    Path(somebody.environment["BEARER_TOKEN_FILE"]).chmod(0o640)
    assert somebody.root_read() == NO_LOGIN

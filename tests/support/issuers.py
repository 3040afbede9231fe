"""The issuers that tests run against: the stand-in IAM, and with `DLAAS_TEST_ISSUER=keycloak` a real Keycloak.

In a conftest: `from support.issuers import peer  # noqa: F401`. Where the two differ, `Flavour` says how; a test
asks it instead of being skipped.
"""

from __future__ import annotations

import abc
import asyncio
import atexit
import functools
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from keycloak.realm import REALM
from keycloak.runner import ADMIN, ADMIN_PASSWORD, Keycloak

from jupyterhub_dlaas.demo.iam import StandInIAM
from jupyterhub_dlaas.errors import IAMError, NoEntitlement, OperatorError, StaleSubject
from jupyterhub_dlaas.oidc.clock import Clock


@dataclass(frozen=True)
class Flavour:
    """How an issuer differs. Where an error class stands, None means that it answers with a token.

    `scopes`: what an exchange has to ask for, by audience; `unknown_audience`, `unentitled` (carol asks for rucio) and
    `exchange_while_disabled`: what these exchanges meet; `subject_after_refresh`: what the access token from before a
    refresh meets; `reuse_ends_session`: a spent refresh token takes the whole session along.
    """

    name: str
    scopes: Mapping[str, tuple[str, ...]]
    unknown_audience: type[IAMError] | None
    unentitled: type[IAMError] | None
    exchange_while_disabled: type[IAMError] | None
    subject_after_refresh: type[IAMError] | None
    reuse_ends_session: bool


INDIGO = Flavour(
    "indigo",
    scopes={"rucio": ("openid", "profile"), "eos-eulake": ("openid", "profile")},
    unknown_audience=None,
    unentitled=None,
    exchange_while_disabled=None,
    subject_after_refresh=StaleSubject,
    reuse_ends_session=False,
)
KEYCLOAK = Flavour(
    "keycloak",
    scopes={"rucio": ("rucio",), "eos-eulake": ("eos-eulake",)},
    unknown_audience=OperatorError,
    unentitled=NoEntitlement,
    # The words are those for an expired subject: only the refresh that follows tells.
    exchange_while_disabled=StaleSubject,
    subject_after_refresh=None,
    reuse_ends_session=True,
)


class Peer(abc.ABC):
    """An issuer that a test may do anything to. Users and passwords: alice/alice-pw, bob/bob-pw, carol/carol-pw."""

    flavour: Flavour
    clock: Clock
    client_id = "dlaas"
    client_secret = "dlaas-secret"

    @property
    @abc.abstractmethod
    def issuer_url(self) -> str: ...

    @abc.abstractmethod
    async def set_active(self, user: str, active: bool) -> None:
        """Suspends an account, or lets it in again."""

    @abc.abstractmethod
    async def set_groups(self, user: str, groups: list[str]) -> None:
        """The user's groups, as full paths without a leading slash, from now on."""

    @abc.abstractmethod
    async def end_sessions(self, user: str) -> None:
        """Ends all sessions of the user, as an administrator does."""

    @abc.abstractmethod
    async def rotate_keys(self) -> None:
        """Signs with a new key from now on."""

    @abc.abstractmethod
    async def set_token_seconds(self, seconds: int) -> None:
        """The life of access tokens issued from now on."""

    @abc.abstractmethod
    async def let_pass(self, seconds: float) -> None:
        """Time goes on for issuer and client."""

    @abc.abstractmethod
    async def stop(self) -> None: ...

    @abc.abstractmethod
    async def start(self) -> None: ...


class StandInPeer(Peer):
    """The stand-in IAM; client and issuer share a clock that can be moved on."""

    flavour = INDIGO

    def __init__(self, iam: StandInIAM) -> None:
        self.iam = iam
        self.clock = iam.clock

    @property
    def issuer_url(self) -> str:
        return self.iam.issuer_url

    async def set_active(self, user: str, active: bool) -> None:
        self.iam.users[user].active = active

    async def set_groups(self, user: str, groups: list[str]) -> None:
        self.iam.users[user].groups = list(groups)

    async def end_sessions(self, user: str) -> None:
        self.iam.end_sessions(user)

    async def rotate_keys(self) -> None:
        self.iam.rotate_keys()

    async def set_token_seconds(self, seconds: int) -> None:
        self.iam.settings.token_seconds = seconds

    async def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)  # type: ignore[attr-defined]

    async def stop(self) -> None:
        await self.iam.stop()

    async def start(self) -> None:
        await self.iam.start()


class KeycloakPeer(Peer):
    """A real Keycloak through its admin API; time passes as it does."""

    flavour = KEYCLOAK

    def __init__(self, keycloak: Keycloak) -> None:
        self._keycloak = keycloak
        self._token, self._token_until = "", 0.0
        self.clock = Clock()

    @property
    def issuer_url(self) -> str:
        return self._keycloak.issuer_url

    async def _admin(self, method: str, path: str, body: Any = None) -> Any:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            headers = {"Authorization": f"Bearer {await self._admin_token(session)}"}
            url = f"{self._keycloak.url}/admin/realms/{REALM}{path}"
            async with session.request(method, url, json=body, headers=headers) as answer:
                return await answer.json() if answer.content_type == "application/json" else None

    async def _admin_token(self, session: aiohttp.ClientSession) -> str:
        # It lasts 60 s. A new one for each request would cost a password's hash, which is slow on purpose.
        if time.monotonic() > self._token_until:
            form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": ADMIN_PASSWORD}
            url = f"{self._keycloak.url}/realms/master/protocol/openid-connect/token"
            async with session.post(url, data=form) as answer:
                self._token = (await answer.json())["access_token"]
            self._token_until = time.monotonic() + 40
        return self._token

    async def _user_id(self, user: str) -> str:
        found = await self._admin("GET", f"/users?username={user}&exact=true")
        return str(found[0]["id"])

    async def set_active(self, user: str, active: bool) -> None:
        await self._admin("PUT", f"/users/{await self._user_id(user)}", {"enabled": active})

    async def set_groups(self, user: str, groups: list[str]) -> None:
        path = f"/users/{await self._user_id(user)}/groups"
        have = {group["path"].strip("/"): group["id"] for group in await self._admin("GET", path)}
        for name in have.keys() - set(groups):
            await self._admin("DELETE", f"{path}/{have[name]}")
        for name in set(groups) - have.keys():
            found = await self._admin("GET", f"/group-by-path/{name}")
            await self._admin("PUT", f"{path}/{found['id']}")

    async def end_sessions(self, user: str) -> None:
        # Offline sessions end by a `notBefore` in whole seconds: a token of this very second would survive it.
        await asyncio.sleep(1.2)
        await self._admin("POST", f"/users/{await self._user_id(user)}/logout")

    async def rotate_keys(self) -> None:
        realm = await self._admin("GET", "")
        component = {
            "name": f"rsa-{time.time_ns()}",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": realm["id"],
            "config": {
                "priority": [str(200 + int(time.monotonic()) % 10**6)],
                "enabled": ["true"],
                "active": ["true"],
                "algorithm": ["RS256"],
                "keySize": ["2048"],
            },
        }
        await self._admin("POST", "/components", component)

    async def set_token_seconds(self, seconds: int) -> None:
        await self._admin("PUT", "", {"accessTokenLifespan": seconds})

    async def set_idle_seconds(self, seconds: int) -> None:
        """How long an online session, and so its refresh token, lives without being used."""
        await self._admin("PUT", "", {"ssoSessionIdleTimeout": seconds})

    async def let_pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def stop(self) -> None:
        await asyncio.to_thread(self._keycloak.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._keycloak.start)

    async def mend(self) -> None:
        """Undoes what a test may have left."""
        if not self._keycloak.running:
            await self.start()
        for user in ("alice", "bob", "carol"):
            await self.set_active(user, True)
        await self.set_groups("alice", ["escape", "escape/cms"])
        await self.set_groups("carol", [])
        await self.set_token_seconds(60)
        await self.set_idle_seconds(1800)


@functools.cache
def running_keycloak() -> Keycloak:
    """One Keycloak for the whole test run, started at first use."""
    keycloak = Keycloak()
    atexit.register(keycloak.close)
    keycloak.start()
    return keycloak


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """The issuer under test, as if nobody had used it before."""
    if os.environ.get("DLAAS_TEST_ISSUER", "stand-in") == "keycloak":
        real = KeycloakPeer(await asyncio.to_thread(running_keycloak))
        try:
            yield real
        finally:
            await real.mend()
    else:
        async with StandInIAM() as iam:
            yield StandInPeer(iam)

"""A hub with its proxy over the real Keycloak: another one for each test, because people and realm are the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from support.hub import RunningHub
from support.issuers import KeycloakPeer, Peer, peer
from support.leaks import assert_no_leaks, no_leaks, pytest_runtest_makereport
from support.scene import Person, Scene, base_config, until
from traitlets.config import Config

from jupyterhub_dlaas.hub.metrics import metrics

__all__ = ["no_leaks", "peer", "pytest_runtest_makereport"]

GUESTS = """
vo: guests
rucio_instances:
  escape: {rucio_host: "https://rucio.example.org", audience: rucio, mode: download}
storages:
  eulake: {type: eos, host_path: %(folder)s/var/eos, mount_path: %(folder)s/eos, path: %(folder)s/eos/eulake,
           audience: eos-eulake, introspection: iam.example.org/userinfo}
environments:
  - {name: look, image: "registry.example.org/guests/look:1", rucio: [escape], storages: [eulake]}
"""


class Lake(Scene):
    """The people are Keycloak's: alice (escape), bob (ska), carol (no group). Time passes as it does."""

    def __init__(self, folder: Path, hub: RunningHub, keycloak: KeycloakPeer) -> None:
        super().__init__(folder, hub, cast(Any, keycloak), cast(Any, keycloak.clock))
        self.keycloak = keycloak

    async def newcomer(self, *groups: str, name: str = "") -> Person:
        """alice, if nobody else is named; accounts are not made here."""
        person = Person(self, name or "alice")
        self.people.append(person)
        return person

    def refreshes(self) -> dict[str, int]:
        """Refresh grants that this process has asked for, by the class of the answer."""
        (metric,) = metrics().refreshes.collect()
        return {one.labels["class"]: int(one.value) for one in metric.samples if one.name.endswith("_total")}

    async def session_is_good(self, person: Person) -> bool:
        """Whether Keycloak accepts the session's newest refresh token, and exchanges."""
        await self.hub.dlaas.keeper.renew(self.hub.user(person.name), force=True)
        return person.logged_in and not person.trouble("rucio") and not person.trouble("eos-eulake")

    async def clear(self) -> None:
        """The end of a test: everybody goes."""
        for person in self.people:
            await self._dismiss(person)


def lake_config(folder: Path, keycloak: KeycloakPeer) -> Config:
    c = base_config(folder, keycloak.issuer_url, keycloak.client_secret)
    # Keycloak gives the token of an audience only with the scope that is made for it.
    scopes = {key: list(scopes) for key, scopes in keycloak.flavour.scopes.items()}
    c.IAMAuthenticator.audiences = {
        "rucio": {"scopes": scopes["rucio"], "required_for": ["ska"]},
        "eos-eulake": {"scopes": scopes["eos-eulake"]},
    }
    (folder / "catalogue.d/guests.yaml").write_text(GUESTS % {"folder": folder})
    c.DLaaSConfig.vos = {**c.DLaaSConfig.vos, "guests": {"groups": {"guests"}, "trusted": True}}
    return c


@asynccontextmanager
async def hub_over(
    folder: Path, keycloak: KeycloakPeer, more: Callable[[Config], None] = lambda c: None
) -> AsyncIterator[Lake]:
    c = lake_config(folder, keycloak)
    more(c)
    async with RunningHub(folder, c) as hub:
        lake = Lake(folder, hub, keycloak)
        try:
            await until(lambda: hub.dlaas.issuer.known, what="discovery")
            yield lake
            assert_no_leaks()  # while the servers still run
        finally:
            await lake.clear()


@pytest.fixture
async def lake(peer: Peer, tmp_path: Path) -> AsyncIterator[Lake]:
    """The hub as it is set up by default, with offline sessions."""
    assert isinstance(peer, KeycloakPeer)
    async with hub_over(tmp_path, peer) as running:
        yield running


@pytest.fixture
async def online_lake(peer: Peer, tmp_path: Path) -> AsyncIterator[Lake]:
    """A hub that does not ask for offline_access: its sessions die of idleness."""
    assert isinstance(peer, KeycloakPeer)

    def more(c: Config) -> None:
        c.IAMAuthenticator.scope = ["openid", "profile", "email"]

    async with hub_over(tmp_path, peer, more) as running:
        yield running

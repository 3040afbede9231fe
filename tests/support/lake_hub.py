"""A hub with the data lake, the stand-in IAM behind it and tiny local servers: what the tests of servers start with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from traitlets.config import Config

import jupyterhub_dlaas
from jupyterhub_dlaas.demo.iam import StandInIAM
from support.hub import Browser, RunningHub

CATALOGUE = """
vo: escape
display_name: ESCAPE
rucio_instances:
  escape:
    display_name: ESCAPE Data Lake
    rucio_host: https://rucio.example.org
    audience: rucio
    mode: download
storages:
  scratch: {{type: scratch, host_path: "{mount}", mount_path: "{mount}"}}
environments:
  - name: root
    display_name: ROOT
    description: ROOT
    image: registry.example.org/escape/root:1
    rucio: [escape]
    storages: [scratch]
    auth_types: [oidc, x509_proxy]
  - name: plain
    display_name: Plain
    description: No data
    image: registry.example.org/escape/plain:1
"""


@dataclass
class Lake:
    """A running hub and its IAM."""

    hub: RunningHub
    iam: StandInIAM
    folder: Path

    @asynccontextmanager
    async def browser(self, user: str) -> AsyncIterator[Browser]:
        """A browser in which this user has logged in."""
        async with Browser(self.hub) as browser:
            status, text = await browser.login(user)
            assert status == 200, text
            yield browser

    async def start(self, user: str, server: str = "", environment: str = "escape/root") -> Any:
        """Starts a server through the API; returns its spawner once it runs."""
        async with self.browser(user) as browser:
            status, text = await browser.spawn(user, server, {"environment": environment})
            assert status == 201, text
        spawner = self.hub.user(user).spawners[server]
        if spawner._spawn_future:
            await spawner._spawn_future
        assert spawner.ready
        return spawner

    async def call(self, path: str, token: str | None = None, **options: Any) -> tuple[int, dict[str, str], str]:
        """A request with this token alone: status, headers (names in lower case) and text."""
        headers = {**options.pop("headers", {}), **({"Authorization": f"token {token}"} if token else {})}
        async with aiohttp.ClientSession() as session:
            method = options.pop("method", "GET")
            async with session.request(method, self.hub.url + path, headers=headers, **options) as answer:
                found = {name.lower(): value for name, value in answer.headers.items()}
                return answer.status, found, await answer.text()


def lake_config(folder: Path, iam: StandInIAM) -> Config:
    mount = folder / "mount"
    mount.mkdir()
    (folder / "catalogue.yaml").write_text(CATALOGUE.format(mount=mount))
    (folder / "none.py").touch()
    c = Config()
    c.CryptKeeper.keys = [b"k" * 32]
    jupyterhub_dlaas.setup(c)
    c.JupyterHub.authenticator_class = "dlaas"
    c.JupyterHub.spawner_class = "dlaas-local"
    c.JupyterHub.allow_named_servers = True
    c.IAMAuthenticator.issuer_url = iam.issuer_url
    c.IAMAuthenticator.client_id, c.IAMAuthenticator.client_secret = "dlaas", "dlaas-secret"
    c.IAMAuthenticator.audiences = {"rucio": {"required_for": ["escape"]}}
    c.IAMAuthenticator.allow_all = True
    c.DLaaSConfig.catalogue = str(folder / "catalogue.yaml")
    c.DLaaSConfig.vos = {"escape": {"groups": {"escape"}, "trusted": True}}
    c.LocalDLaaSSpawner.allow_shared_uid = True
    c.LocalDLaaSSpawner.places_dir = str(folder / "run")
    c.LocalDLaaSSpawner.shared_home_dir = str(folder / "homes/{username}")
    return c


@asynccontextmanager
async def lake(
    folder: Path, more: Callable[[Config], None] = lambda config: None, **settings: Any
) -> AsyncIterator[Lake]:
    """`more` may change the configuration; `settings` are those of `DLaaSConfig` by name."""
    async with StandInIAM() as iam:
        config = lake_config(folder, iam)
        config.DLaaSConfig.clock = iam.clock
        for name, value in settings.items():
            setattr(config.DLaaSConfig, name, value)
        more(config)
        hub = RunningHub(folder, config)
        hub.config.IAMAuthenticator.oauth_callback_url = f"{hub.url}/hub/oauth_callback"
        async with hub:
            for _ in range(100):
                if hub.dlaas.issuer.known:
                    break
                await asyncio.sleep(0.05)
            yield Lake(hub, iam, folder)

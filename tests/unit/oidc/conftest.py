"""A fake issuer on loopback, its keys made once, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from oidc_fakes import NOW, FakeIssuer, Keys

from jupyterhub_dlaas.oidc.clock import ManualClock
from jupyterhub_dlaas.oidc.http import HTTP
from jupyterhub_dlaas.oidc.issuer import Issuer


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def http() -> AsyncIterator[HTTP]:
    client = HTTP(timeout_seconds=5)
    yield client
    await client.close()


@pytest.fixture
async def iam(keys: Keys) -> AsyncIterator[FakeIssuer]:
    fake = FakeIssuer(keys)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    fake.discovery = {
        "issuer": fake.url,
        "authorization_endpoint": f"{fake.url}authorize",
        "token_endpoint": f"{fake.url}token",
        "userinfo_endpoint": f"{fake.url}userinfo",
        "jwks_uri": f"{fake.url}jwk",
        "revocation_endpoint": f"{fake.url}revoke",
        "scim_endpoint": f"{fake.url}scim",
    }
    yield fake
    await runner.cleanup()


@pytest.fixture
def issuer(iam: FakeIssuer, http: HTTP, clock: ManualClock) -> Issuer:
    return Issuer(iam.url, http, clock)

"""One suite, two issuers: the stand-in IAM, or with DLAAS_TEST_ISSUER=keycloak a real Keycloak."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.issuers import Peer, peer

from conformance.relying_party import RelyingParty
from jupyterhub_dlaas.oidc.http import HTTP

__all__ = ["peer"]

MakeRP = Callable[..., Awaitable[RelyingParty]]


@pytest.fixture
async def http() -> AsyncIterator[HTTP]:
    client = HTTP(timeout_seconds=30)
    yield client
    await client.close()


@pytest.fixture
async def rp(peer: Peer, http: HTTP) -> RelyingParty:
    """The hub's side, before any login."""
    return RelyingParty(peer, http)

"""The life of a session: renewal, races, its end, and outages that are no end."""

from __future__ import annotations

import asyncio

import pytest
from support.issuers import Peer

from conformance.relying_party import RelyingParty
from jupyterhub_dlaas.errors import AccountDisabled, DeadSession, IAMError, Outage, StaleSubject
from jupyterhub_dlaas.oidc.issuer import Issuer
from jupyterhub_dlaas.oidc.model import Grant
from jupyterhub_dlaas.oidc.secret import Secret


def refresh_token_of(grant: Grant) -> Secret:
    assert grant.refresh_token is not None
    return grant.refresh_token


async def alive(rp: RelyingParty, refresh_token: Secret) -> bool:
    try:
        await rp.client.refresh(refresh_token)
    except DeadSession:
        return False
    return True


async def test_a_refresh_rotates_and_the_new_tokens_work(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    following = await rp.client.refresh(login.refresh_token)
    assert following.refresh_token not in (None, login.refresh_token)
    assert await rp.client.userinfo(following.access_token)
    assert following.id_token is not None
    before = await rp.issuer.verify_id_token(login.id_token, client_id=peer.client_id, nonce=login.nonce)
    after = await rp.issuer.verify_id_token(following.id_token, client_id=peer.client_id, nonce=None)
    assert after["sub"] == before["sub"]


async def test_three_lifetimes_of_renewal(rp: RelyingParty, peer: Peer) -> None:
    await peer.set_token_seconds(3)
    grant = (await rp.log_in()).grant
    for _ in range(3):
        await peer.let_pass(4)
        with pytest.raises(StaleSubject):
            await rp.client.exchange(grant.access_token, rp.audience("rucio"))
        grant = await rp.client.refresh(refresh_token_of(grant))
        exchanged = await rp.client.exchange(grant.access_token, rp.audience("rucio"))
        assert 0 < exchanged.expires_at - peer.clock.now() <= 4


async def test_a_spent_refresh_token_is_a_dead_session(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    following = await rp.client.refresh(login.refresh_token)
    with pytest.raises(DeadSession):
        await rp.client.refresh(login.refresh_token)
    assert await alive(rp, refresh_token_of(following)) is not peer.flavour.reuse_ends_session


async def test_of_racing_refreshes_one_wins(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    answers = await asyncio.gather(*(rp.client.refresh(login.refresh_token) for _ in range(8)), return_exceptions=True)
    won = [answer for answer in answers if isinstance(answer, Grant)]
    lost = [answer for answer in answers if not isinstance(answer, Grant)]
    assert len(won) == 1
    assert {type(answer) for answer in lost} == {DeadSession}
    assert await alive(rp, refresh_token_of(won[0])) is not peer.flavour.reuse_ends_session


async def test_garbage_is_a_dead_session(rp: RelyingParty) -> None:
    with pytest.raises(DeadSession):
        await rp.client.refresh(Secret("garbage"))


async def test_a_disabled_account_keeps_its_session_for_when_it_is_enabled(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    await peer.set_active("alice", False)
    with pytest.raises(AccountDisabled):
        await rp.client.refresh(login.refresh_token)
    await peer.set_active("alice", True)
    following = await rp.client.refresh(login.refresh_token)
    assert await rp.client.exchange(following.access_token, rp.audience("rucio"))


async def test_a_revoked_refresh_token_ends_the_session(rp: RelyingParty) -> None:
    login = await rp.log_in()
    await rp.client.revoke(login.refresh_token)
    with pytest.raises(DeadSession):
        await rp.client.refresh(login.refresh_token)
    with pytest.raises(StaleSubject):
        await rp.client.exchange(login.grant.access_token, rp.audience("rucio"))


async def test_an_administrator_ends_the_sessions_of_a_user(rp: RelyingParty, peer: Peer) -> None:
    login, other = await rp.log_in("alice"), await rp.log_in("bob")
    await peer.end_sessions("alice")
    with pytest.raises(DeadSession):
        await rp.client.refresh(login.refresh_token)
    assert await rp.client.refresh(other.refresh_token)


async def test_an_outage_is_an_outage_and_nothing_is_lost(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    await peer.stop()
    seen: list[type[IAMError]] = []
    for ask in (
        rp.client.refresh(login.refresh_token),
        rp.client.exchange(login.grant.access_token, rp.audience("rucio")),
        rp.client.userinfo(login.grant.access_token),
        Issuer(peer.issuer_url, rp.http, peer.clock).endpoints(),
    ):
        try:
            await ask
        except IAMError as error:
            seen.append(type(error))
    await peer.start()
    assert seen == [Outage] * 4
    assert await rp.client.refresh(login.refresh_token)

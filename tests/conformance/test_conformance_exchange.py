"""Token exchange: one token per audience, and who gets none."""

from __future__ import annotations

import asyncio

import pytest
from support.issuers import Peer

from conformance.relying_party import RelyingParty
from jupyterhub_dlaas.errors import IAMError, StaleSubject
from jupyterhub_dlaas.oidc import claims
from jupyterhub_dlaas.oidc.model import AudienceSpec, Grant
from jupyterhub_dlaas.oidc.secret import Secret


async def outcome(rp: RelyingParty, subject: Secret, audience: AudienceSpec) -> type[IAMError] | None:
    """The class of the error that this exchange meets, None if it gives a token."""
    try:
        await rp.client.exchange(subject, audience)
    except IAMError as error:
        return type(error)
    return None


async def test_two_audiences_at_once_each_get_their_own_token(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    specs = [rp.audience("rucio"), rp.audience("eos-eulake")]
    grants: list[Grant] = await asyncio.gather(*(rp.client.exchange(login.grant.access_token, spec) for spec in specs))
    found = [claims.unverified_claims(grant.access_token) for grant in grants]
    assert [claims.audiences(one) for one in found] == [{"rucio"}, {"eos-eulake"}]
    subject = claims.unverified_claims(login.grant.access_token)["sub"]
    assert [one["sub"] for one in found] == [subject, subject]
    assert all(grant.refresh_token is None for grant in grants)
    assert all(grant.expires_at > peer.clock.now() for grant in grants)


async def test_exchanging_does_not_touch_the_session(rp: RelyingParty) -> None:
    login = await rp.log_in()
    await rp.client.exchange(login.grant.access_token, rp.audience("rucio"))
    assert await rp.client.userinfo(login.grant.access_token)
    assert await rp.client.refresh(login.refresh_token)


async def test_an_audience_nobody_knows(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    spec = AudienceSpec.parse("nobody-knows", {"scopes": ["openid"]})
    assert await outcome(rp, login.grant.access_token, spec) is peer.flavour.unknown_audience


async def test_a_user_without_the_entitlement_keeps_the_other_audience(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in("carol")
    token = login.grant.access_token
    assert await outcome(rp, token, rp.audience("rucio")) is peer.flavour.unentitled
    assert await outcome(rp, token, rp.audience("eos-eulake")) is None


async def test_garbage_is_a_stale_subject(rp: RelyingParty) -> None:
    assert await outcome(rp, Secret("garbage"), rp.audience("rucio")) is StaleSubject


async def test_the_access_token_from_before_a_refresh(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    await rp.client.refresh(login.refresh_token)
    seen = await outcome(rp, login.grant.access_token, rp.audience("rucio"))
    assert seen is peer.flavour.subject_after_refresh


async def test_exchange_for_a_disabled_account(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    await peer.set_active("alice", False)
    seen = await outcome(rp, login.grant.access_token, rp.audience("rucio"))
    assert seen is peer.flavour.exchange_while_disabled


async def test_an_error_names_the_audience_and_never_the_token(rp: RelyingParty) -> None:
    login = await rp.log_in()
    spoiled = Secret(login.grant.access_token.reveal()[:-8] + "AAAAAAAA")
    with pytest.raises(StaleSubject) as caught:
        await rp.client.exchange(spoiled, rp.audience("rucio"))
    assert caught.value.audience == "rucio"
    assert spoiled.reveal()[-60:] not in f"{caught.value} {caught.value.hint} {caught.value.reason}"

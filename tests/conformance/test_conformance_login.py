"""Discovery, login and what a login says about the user."""

from __future__ import annotations

import pytest
from support.issuers import Peer

from conformance.relying_party import REDIRECT, RelyingParty
from jupyterhub_dlaas.errors import DeadSession, OperatorError
from jupyterhub_dlaas.oidc import claims


async def test_discovery_names_this_issuer_and_its_endpoints(rp: RelyingParty, peer: Peer) -> None:
    found = await rp.issuer.endpoints()
    assert claims.same_issuer(found.issuer, peer.issuer_url)
    assert all(
        url.startswith(peer.issuer_url) for url in (found.token, found.userinfo, found.jwks, found.authorization)
    )
    assert found.revocation is not None


async def test_a_login_gives_a_session_that_lasts_and_an_id_token_that_holds(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    assert login.refresh_token
    assert login.grant.expires_at > peer.clock.now()
    found = await rp.issuer.verify_id_token(login.id_token, client_id=peer.client_id, nonce=login.nonce)
    assert found["preferred_username"] == "alice"


async def test_the_client_may_authenticate_in_the_body(rp: RelyingParty, peer: Peer) -> None:
    back = await rp.authorize("alice")
    client = rp.client_with(peer.client_secret, "post")
    assert (await client.code(back.code, redirect_uri=REDIRECT, code_verifier=back.verifier)).access_token


async def test_the_nonce_of_another_login_is_refused(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    with pytest.raises(DeadSession):
        await rp.issuer.verify_id_token(login.id_token, client_id=peer.client_id, nonce="another")


async def test_an_id_token_for_another_client_is_refused(rp: RelyingParty) -> None:
    login = await rp.log_in()
    with pytest.raises(OperatorError):
        await rp.issuer.verify_id_token(login.id_token, client_id="somebody-else", nonce=login.nonce)


async def test_a_code_works_once(rp: RelyingParty) -> None:
    back = await rp.authorize("alice")
    await rp.client.code(back.code, redirect_uri=REDIRECT, code_verifier=back.verifier)
    with pytest.raises(DeadSession):
        await rp.client.code(back.code, redirect_uri=REDIRECT, code_verifier=back.verifier)


async def test_a_code_without_its_verifier_is_worthless(rp: RelyingParty) -> None:
    back = await rp.authorize("alice")
    # Keycloak says 400 invalid_grant here, INDIGO IAM 400 invalid_request.
    with pytest.raises((DeadSession, OperatorError)):
        await rp.client.code(back.code, redirect_uri=REDIRECT, code_verifier="x" * 43)


@pytest.mark.parametrize(("user", "groups"), [("alice", {"escape", "escape/cms"}), ("bob", {"ska"}), ("carol", set())])
async def test_userinfo_and_id_token_tell_the_groups(rp: RelyingParty, peer: Peer, user: str, groups: set[str]) -> None:
    login = await rp.log_in(user)
    assert claims.groups(await rp.client.userinfo(login.grant.access_token)) == groups
    identity = await rp.issuer.verify_id_token(login.id_token, client_id=peer.client_id, nonce=login.nonce)
    assert claims.groups(identity) == groups


async def test_a_group_that_is_gone_shows_at_once_in_userinfo_and_after_a_refresh(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    await peer.set_groups("alice", ["escape"])
    assert claims.groups(await rp.client.userinfo(login.grant.access_token)) == {"escape"}
    following = await rp.client.refresh(login.refresh_token)
    assert following.id_token is not None
    identity = await rp.issuer.verify_id_token(following.id_token, client_id=peer.client_id, nonce=None)
    assert claims.groups(identity) == {"escape"}


async def test_a_new_signing_key_is_found_without_a_restart(rp: RelyingParty, peer: Peer) -> None:
    first = await rp.log_in()
    await rp.issuer.verify_id_token(first.id_token, client_id=peer.client_id, nonce=first.nonce)
    await peer.rotate_keys()
    second = await rp.log_in()
    assert await rp.issuer.verify_id_token(second.id_token, client_id=peer.client_id, nonce=second.nonce)
    assert await rp.issuer.verify_id_token(first.id_token, client_id=peer.client_id, nonce=first.nonce)


async def test_a_wrong_secret_is_an_operators_error(rp: RelyingParty, peer: Peer) -> None:
    login = await rp.log_in()
    for how in ("basic", "post"):
        client = rp.client_with("wrong", how)  # type: ignore[arg-type]
        with pytest.raises(OperatorError):
            await client.refresh(login.refresh_token)
        with pytest.raises(OperatorError):
            await client.exchange(login.grant.access_token, rp.audience("rucio"))
    assert await rp.client.refresh(login.refresh_token), "the session has outlived the mistake"

"""The five requests of the hub to IAM: what is sent, what is believed, and what is raised."""

from __future__ import annotations

import asyncio
import base64

import pytest
from aiohttp import web
from oidc_fakes import NOW

from jupyterhub_dlaas.errors import ConfigError, DeadSession, IAMError, OperatorError, Outage, StaleSubject, UserAction
from jupyterhub_dlaas.oidc.client import IAMClient
from jupyterhub_dlaas.oidc.http import HTTP
from jupyterhub_dlaas.oidc.issuer import Issuer
from jupyterhub_dlaas.oidc.model import AudienceSpec
from jupyterhub_dlaas.oidc.secret import Secret

RUCIO = AudienceSpec.parse("rucio", {"audience": "https://rucio.example.org", "scopes": ["openid", "profile"]})
# Characters that form-encoding would change.
SECRET = Secret("s3cret%/+: ü")


@pytest.fixture
def client(issuer, http, clock):
    return IAMClient(issuer, http, clock, client_id="dlaas", client_secret=SECRET)


def grant(iam, **more):
    body = {"access_token": iam.access_token().reveal(), "token_type": "Bearer", "expires_in": 3599, **more}
    iam.answer("/token", {name: value for name, value in body.items() if value is not None})


def exchanged(iam, **claims):
    token = iam.access_token(**{"aud": RUCIO.audience, **claims}).reveal()
    grant(iam, access_token=token, scope="openid profile")


def sent(iam):
    return iam.requests[-1]


class TestAuthentication:
    async def test_basic_sends_the_secret_as_it_is(self, iam, client):
        grant(iam)
        await client.refresh(Secret("r"))
        _, form, headers = sent(iam)
        assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == f"dlaas:{SECRET.reveal()}"
        assert "client_secret" not in form

    async def test_post_sends_it_in_the_body_alone(self, iam, issuer, http, clock):
        grant(iam)
        client = IAMClient(issuer, http, clock, client_id="dlaas", client_secret=SECRET, client_auth="post")
        await client.refresh(Secret("r"))
        _, form, headers = sent(iam)
        assert (form["client_id"], form["client_secret"]) == ("dlaas", SECRET.reveal())
        assert "Authorization" not in headers

    def test_a_colon_in_the_id_cannot_be_basic(self, issuer, http, clock):
        with pytest.raises(ConfigError, match="colon"):
            IAMClient(issuer, http, clock, client_id="https://a", client_secret=SECRET)

    def test_another_method_is_refused_at_once(self, issuer, http, clock):
        with pytest.raises(ConfigError, match="jwt"):
            IAMClient(issuer, http, clock, client_id="dlaas", client_secret=SECRET, client_auth="jwt")


class TestCode:
    async def test_it_is_spent_with_its_verifier(self, iam, client):
        grant(iam, refresh_token="r1", id_token="i1", scope="openid offline_access")
        found = await client.code("c", redirect_uri="http://hub/cb", code_verifier="v")
        assert sent(iam)[1] == {
            "grant_type": "authorization_code",
            "code": "c",
            "redirect_uri": "http://hub/cb",
            "code_verifier": "v",
        }
        assert (found.refresh_token, found.id_token) == (Secret("r1"), Secret("i1"))
        assert found.scope == {"openid", "offline_access"}
        assert (found.received_at, found.expires_at) == (NOW, NOW + 3599)

    async def test_a_spent_code_means_log_in_again(self, iam, client):
        iam.answer("/token", {"error": "invalid_grant", "error_description": "Code not valid"}, status=400)
        with pytest.raises(DeadSession):
            await client.code("c", redirect_uri="http://hub/cb", code_verifier="v")


class TestRefresh:
    async def test_no_new_refresh_token_is_none(self, iam, client):
        grant(iam)
        found = await client.refresh(Secret("r"))
        assert (found.refresh_token, found.refresh_expires_at) == (None, None)
        assert sent(iam)[1] == {"grant_type": "refresh_token", "refresh_token": "r"}

    @pytest.mark.parametrize(("expires_in", "expected"), [(1800, NOW + 1800), (0, None)])
    async def test_the_refresh_tokens_end_is_what_keycloak_says(self, iam, client, expires_in, expected):
        grant(iam, refresh_token=iam.access_token(exp=NOW + 99).reveal(), refresh_expires_in=expires_in)
        assert (await client.refresh(Secret("r"))).refresh_expires_at == expected

    async def test_the_refresh_tokens_end_is_in_indigo_iams_token(self, iam, client):
        grant(iam, refresh_token=iam.access_token(exp=NOW + 99).reveal())
        assert (await client.refresh(Secret("r"))).refresh_expires_at == NOW + 99

    async def test_time_that_iam_takes_is_not_added_to_the_tokens_life(self, iam, client, clock):
        async def slow(_: web.Request) -> web.Response:
            clock.advance(20)
            return web.json_response({"access_token": "opaque", "expires_in": 60})

        iam.answers["/token"] = slow
        found = await client.refresh(Secret("r"))
        assert (found.expires_at, found.received_at) == (NOW + 60, NOW + 20)

    async def test_a_dead_session_is_told(self, iam, client):
        iam.answer("/token", {"error": "invalid_token", "error_description": "Invalid refresh token: r1"}, status=401)
        with pytest.raises(DeadSession) as caught:
            await client.refresh(Secret("r1"))
        assert "r1" not in caught.value.reason

    async def test_an_aup_leads_to_the_issuer(self, iam, client):
        body = {"error": "invalid_grant", "error_description": "User alice needs to sign AUP for this organization"}
        iam.answer("/token", body, status=400)
        with pytest.raises(UserAction) as caught:
            await client.refresh(Secret("r1"))
        assert caught.value.url == iam.url

    @pytest.mark.parametrize(
        "body", ["<html>", '{"access_tok', "[]", "{}", "[" * 100_000, '{"access_token": 7}', '{"access_token": ""}', ""]
    )
    async def test_an_answer_without_a_token_is_an_outage(self, iam, client, body):
        iam.answer("/token", body)
        with pytest.raises(Outage):
            await client.refresh(Secret("r"))

    @pytest.mark.parametrize("status", [500, 502, 503, 429])
    async def test_a_server_in_trouble_is_an_outage_with_its_wait(self, iam, client, status):
        iam.answer("/token", {"error": "invalid_grant"}, status=status, headers={"Retry-After": "9"})
        with pytest.raises(Outage) as caught:
            await client.refresh(Secret("r"))
        assert caught.value.retry_after == 9

    async def test_a_hang_is_an_outage(self, iam, clock):
        async def hang(_: web.Request) -> web.Response:
            await asyncio.sleep(60)
            return web.Response()

        iam.answers["/token"] = hang
        http = HTTP(timeout_seconds=0.2)
        client = IAMClient(Issuer(iam.url, http, clock), http, clock, client_id="dlaas", client_secret=SECRET)
        try:
            with pytest.raises(Outage):
                await client.refresh(Secret("r"))
        finally:
            await http.close()

    async def test_it_is_asked_once_whatever_comes(self, iam, client):
        iam.answer("/token", status=503)
        with pytest.raises(Outage):
            await client.refresh(Secret("r"))
        assert iam.count("/token") == 1


class TestExchange:
    async def test_scope_and_types_are_always_sent_and_resource_never(self, iam, client):
        exchanged(iam)
        await client.exchange(Secret("s"), RUCIO)
        assert sent(iam)[1] == {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "s",
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "audience": "https://rucio.example.org",
            "scope": "openid profile",
        }

    async def test_offline_access_is_never_asked_for(self, iam, client):
        exchanged(iam)
        spec = AudienceSpec("rucio", RUCIO.audience, ("openid", "offline_access"), frozenset())
        await client.exchange(Secret("s"), spec)
        assert sent(iam)[1]["scope"] == "openid"

    @pytest.mark.parametrize("aud", ["https://rucio.example.org", ["https://rucio.example.org", "more"]])
    async def test_a_token_for_the_audience_is_taken(self, iam, client, aud):
        exchanged(iam, aud=aud)
        assert (await client.exchange(Secret("s"), RUCIO)).expires_at == NOW + 3599

    @pytest.mark.parametrize(
        "aud", ["https://rucio.example.org/", "any", [], None, {"https://rucio.example.org": 1}, ["more"]]
    )
    async def test_a_token_for_somebody_else_is_the_operators(self, iam, client, aud):
        exchanged(iam, aud=aud)
        with pytest.raises(OperatorError, match="asked for a token for"):
            await client.exchange(Secret("s"), RUCIO)

    async def test_an_opaque_token_is_the_operators(self, iam, client):
        grant(iam, access_token="opaque")
        with pytest.raises(OperatorError, match="names no audience"):
            await client.exchange(Secret("s"), RUCIO)

    async def test_a_token_of_another_issuer_is_the_operators(self, iam, client):
        exchanged(iam, iss="https://evil.example.org/")
        with pytest.raises(OperatorError, match="is from"):
            await client.exchange(Secret("s"), RUCIO)

    async def test_an_issuer_without_its_slash_is_the_same(self, iam, client):
        exchanged(iam, iss=iam.url.rstrip("/"))
        assert await client.exchange(Secret("s"), RUCIO)

    async def test_an_expired_token_is_the_operators(self, iam, client):
        grant(iam, access_token=iam.access_token(aud=RUCIO.audience, exp=NOW - 1).reveal(), expires_in=None)
        with pytest.raises(OperatorError, match="expired"):
            await client.exchange(Secret("s"), RUCIO)

    async def test_scopes_that_iam_dropped_show_in_the_grant(self, iam, client):
        token = iam.access_token(aud=RUCIO.audience).reveal()
        grant(iam, access_token=token, scope="openid")
        assert (await client.exchange(Secret("s"), RUCIO)).scope == {"openid"}

    async def test_the_scope_of_the_token_counts_where_the_answer_names_none(self, iam, client):
        grant(iam, access_token=iam.access_token(aud=RUCIO.audience, scope="profile").reveal())
        assert (await client.exchange(Secret("s"), RUCIO)).scope == {"profile"}

    async def test_no_scope_anywhere_means_the_one_asked_for(self, iam, client):
        grant(iam, access_token=iam.access_token(aud=RUCIO.audience).reveal())
        assert (await client.exchange(Secret("s"), RUCIO)).scope == {"openid", "profile"}

    async def test_a_stale_subject_is_told_without_quoting_it(self, iam, client):
        subject = iam.access_token()
        body = {"error": "invalid_token", "error_description": f"Invalid access token: {subject.reveal()}"}
        iam.answer("/token", body, status=401)
        with pytest.raises(StaleSubject) as caught:
            await client.exchange(subject, RUCIO)
        assert not any(part in caught.value.reason for part in subject.reveal().split("."))

    @pytest.mark.parametrize("status", [401, 403, 503])
    async def test_every_error_names_the_audience(self, iam, client, status):
        iam.answer("/token", status=status)
        with pytest.raises(IAMError) as caught:
            await client.exchange(Secret("s"), RUCIO)
        assert caught.value.audience == "rucio"

    async def test_an_outage_of_discovery_names_each_audience(self, iam, client):
        iam.answer("/.well-known/openid-configuration", status=503)
        specs = [AudienceSpec.parse(key, {}) for key in ("rucio", "eos", "cnaf")]
        errors = await asyncio.gather(*(client.exchange(Secret("s"), each) for each in specs), return_exceptions=True)
        assert [error.audience for error in errors] == ["rucio", "eos", "cnaf"]

    async def test_exchanges_run_at_the_same_time(self, iam, client):
        waiting = asyncio.Semaphore(0)
        arrived = 0

        async def together(_: web.Request) -> web.Response:
            nonlocal arrived
            arrived += 1
            if arrived == 3:
                for _ in range(3):
                    waiting.release()
            await waiting.acquire()
            return web.json_response({"access_token": iam.access_token(aud=RUCIO.audience).reveal(), "expires_in": 60})

        iam.answers["/token"] = together
        assert len(await asyncio.gather(*(client.exchange(Secret("s"), RUCIO) for _ in range(3)))) == 3


class TestUserinfo:
    async def test_the_token_goes_into_the_header(self, iam, client):
        iam.answer("/userinfo", {"sub": "alice", "groups": ["escape"]})
        assert await client.userinfo(Secret("a")) == {"sub": "alice", "groups": ["escape"]}
        assert sent(iam)[2]["Authorization"] == "Bearer a"

    async def test_a_token_not_accepted_is_stale(self, iam, client):
        iam.answer("/userinfo", status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        with pytest.raises(StaleSubject):
            await client.userinfo(Secret("a"))


class TestRevoke:
    async def test_the_token_is_sent(self, iam, client):
        iam.answer("/revoke", "")
        await client.revoke(Secret("r"))
        assert sent(iam)[:2] == ("/revoke", {"token": "r"})

    async def test_an_issuer_without_revocation_is_not_asked(self, iam, client):
        del iam.discovery["revocation_endpoint"]
        await client.revoke(Secret("r"))
        assert iam.count("/revoke") == 0

    async def test_a_refusal_is_told(self, iam, client):
        iam.answer("/revoke", status=403)
        with pytest.raises(OperatorError):
            await client.revoke(Secret("r"))

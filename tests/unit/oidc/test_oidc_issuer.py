"""Discovery and keys: asked for once, backed off when IAM is down, and never believed further than they should be."""

from __future__ import annotations

import asyncio

import jwt
import pytest
from aiohttp import web
from oidc_fakes import NOW, public

from jupyterhub_dlaas.errors import ConfigError, DeadSession, IAMError, OperatorError, Outage
from jupyterhub_dlaas.oidc.issuer import Issuer
from jupyterhub_dlaas.oidc.secret import Secret

DISCOVERY = "/.well-known/openid-configuration"


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0.001)


class TestDiscovery:
    async def test_the_issuers_url_gives_every_endpoint(self, iam, issuer):
        assert issuer.known is None
        found = await issuer.endpoints()
        assert (found.token, found.jwks, found.scim) == (f"{iam.url}token", f"{iam.url}jwk", f"{iam.url}scim")
        assert (found.end_session, found.introspection) == (None, None)
        assert issuer.known == found

    async def test_one_trailing_slash_makes_no_difference(self, iam, http, clock):
        found = await Issuer(iam.url.rstrip("/"), http, clock).endpoints()
        assert found.issuer == iam.url

    async def test_an_endpoint_that_the_administrator_set_wins(self, iam, http, clock):
        own = Issuer(iam.url, http, clock, {"token": "https://proxy.example.org/token", "userinfo": ""})
        found = await own.endpoints()
        assert (found.token, found.userinfo) == ("https://proxy.example.org/token", f"{iam.url}userinfo")

    async def test_fifty_logins_share_one_request(self, iam, issuer):
        await asyncio.gather(*(issuer.endpoints() for _ in range(50)))
        assert iam.count(DISCOVERY) == 1

    async def test_fifty_logins_during_an_outage_make_one_request(self, iam, issuer):
        iam.answer(DISCOVERY, status=503)
        await asyncio.gather(*(issuer.endpoints() for _ in range(50)), return_exceptions=True)
        with pytest.raises(Outage):
            await issuer.endpoints()
        assert iam.count(DISCOVERY) == 1

    async def test_the_wait_between_tries_grows_to_a_minute(self, iam, issuer, clock):
        iam.answer(DISCOVERY, status=503)
        tried_at = []
        for second in range(200):
            before = iam.count(DISCOVERY)
            with pytest.raises(Outage):
                await issuer.endpoints()
            if iam.count(DISCOVERY) > before:
                tried_at.append(second)
            clock.advance(1)
        assert tried_at == [0, 1, 3, 7, 15, 31, 63, 123, 183]

    async def test_the_wait_that_iam_asks_for_is_kept(self, iam, issuer, clock):
        iam.answer(DISCOVERY, status=429, headers={"Retry-After": "30"})
        for _ in range(30):
            with pytest.raises(Outage):
                await issuer.endpoints()
            clock.advance(1)
        assert iam.count(DISCOVERY) == 1

    async def test_a_clock_set_back_does_not_stretch_the_wait(self, iam, issuer, clock):
        iam.answer(DISCOVERY, status=503)
        with pytest.raises(Outage):
            await issuer.endpoints()
        iam.answers.clear()
        clock.advance(-100_000)
        assert (await issuer.endpoints()).token

    async def test_it_works_as_soon_as_iam_is_back(self, iam, issuer, clock):
        iam.answer(DISCOVERY, "not json")
        with pytest.raises(Outage):
            await issuer.endpoints()
        iam.answers.clear()
        clock.advance(1)
        assert (await issuer.endpoints()).token == f"{iam.url}token"

    async def test_after_an_hour_it_is_fetched_again_and_nobody_waits(self, iam, issuer, clock):
        first = await issuer.endpoints()
        iam.discovery["token_endpoint"] = f"{iam.url}new-token"
        clock.advance(3601)
        assert await issuer.endpoints() == first
        await settle()
        assert (await issuer.endpoints()).token == f"{iam.url}new-token"
        assert iam.count(DISCOVERY) == 2

    async def test_the_last_good_one_stays_while_iam_is_down(self, iam, issuer, clock):
        first = await issuer.endpoints()
        iam.answer(DISCOVERY, status=503)
        clock.advance(3601)
        for _ in range(10):
            assert await issuer.endpoints() == first
            await settle()
        assert iam.count(DISCOVERY) == 2

    async def test_a_caller_that_gives_up_does_not_stop_the_others(self, iam, issuer):
        gate = asyncio.Event()

        async def slow(_: web.Request) -> web.Response:
            await gate.wait()
            return web.json_response(iam.discovery)

        iam.answers[DISCOVERY] = slow
        impatient, patient = (asyncio.create_task(issuer.endpoints()) for _ in range(2))
        await iam.asked.wait()
        impatient.cancel()
        gate.set()
        assert (await patient).token
        assert impatient.cancelled()

    async def test_another_issuer_in_the_document_is_named(self, iam, issuer):
        iam.discovery["issuer"] = "https://evil.example.org/"
        with pytest.raises(OperatorError) as caught:
            await issuer.endpoints()
        assert "https://evil.example.org/" in caught.value.message
        assert iam.url in caught.value.message

    @pytest.mark.parametrize("name", ["token_endpoint", "authorization_endpoint", "userinfo_endpoint", "jwks_uri"])
    async def test_a_missing_endpoint_is_named(self, iam, issuer, name):
        del iam.discovery[name]
        with pytest.raises(OperatorError, match=name):
            await issuer.endpoints()

    @pytest.mark.parametrize("url", ["/token", "file:///etc/passwd", "", 7, "http://[::", "http://iam:99999/"])
    async def test_an_endpoint_that_is_no_address_is_refused(self, iam, issuer, url):
        iam.discovery["token_endpoint"] = url
        with pytest.raises(OperatorError, match="token_endpoint"):
            await issuer.endpoints()

    @pytest.mark.parametrize(("status", "expected"), [(404, OperatorError), (302, OperatorError), (500, Outage)])
    async def test_an_answer_that_is_no_document_has_its_class(self, iam, issuer, status, expected):
        iam.answer(DISCOVERY, "<html>", status=status)
        with pytest.raises(expected):
            await issuer.endpoints()

    @pytest.mark.parametrize(
        "url", ["", "iam.example.org", "ftp://iam.example.org", "https://", "https://iam/?a=b", "https://iam/#a"]
    )
    def test_an_issuer_url_that_is_none_is_refused_at_once(self, http, clock, url):
        with pytest.raises(ConfigError, match="issuer_url"):
            Issuer(url, http, clock)


async def verify(issuer: Issuer, token: Secret, nonce: str | None = "n") -> dict[str, object]:
    return await issuer.verify_id_token(token, client_id="dlaas", nonce=nonce)


class TestIdToken:
    async def test_a_good_one_gives_its_claims(self, iam, issuer):
        claims = iam.id_token(groups=["escape"])
        assert await verify(issuer, iam.sign(claims)) == claims

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": ["dlaas"]},
            {"aud": ["dlaas", "other"], "azp": "dlaas"},
            {"exp": NOW - 59},
            {"iat": NOW + 59},
            {"iat": None},
        ],
    )
    async def test_these_are_good_too(self, iam, issuer, claims):
        assert await verify(issuer, iam.sign(iam.id_token(**claims)))

    async def test_the_issuers_trailing_slash_makes_no_difference(self, iam, issuer):
        assert await verify(issuer, iam.sign(iam.id_token(iss=iam.url.rstrip("/"))))

    async def test_a_refresh_compares_no_nonce(self, iam, issuer):
        assert await verify(issuer, iam.sign(iam.id_token(nonce="another")), nonce=None)

    @pytest.mark.parametrize(
        ("claims", "why"),
        [
            ({"iss": "https://evil.example.org/"}, "is from"),
            ({"iss": None}, "is from"),
            ({"aud": "other"}, "another client"),
            ({"aud": None}, "another client"),
            ({"aud": ["dlaas", "other"]}, "another client"),
            ({"azp": "other"}, "another client"),
            ({"exp": NOW - 60}, "expired"),
            ({"exp": None}, "expired"),
            ({"exp": "never"}, "expired"),
            ({"iat": NOW + 61}, "future"),
            ({"nbf": NOW + 61}, "future"),
            ({"sub": None}, "no user"),
            ({"sub": 7}, "no user"),
        ],
    )
    async def test_a_wrong_claim_is_refused(self, iam, issuer, claims, why):
        with pytest.raises(OperatorError, match=why):
            await verify(issuer, iam.sign(iam.id_token(**claims)))

    @pytest.mark.parametrize("nonce", [None, "", "other", 7, "é"])
    async def test_another_logins_nonce_means_log_in_again(self, iam, issuer, nonce):
        with pytest.raises(DeadSession, match="does not belong"):
            await verify(issuer, iam.sign(iam.id_token(nonce=nonce)))

    async def test_another_key_under_a_known_name_is_refused(self, iam, issuer):
        with pytest.raises(OperatorError, match="signature"):
            await verify(issuer, iam.sign(iam.id_token(), key=iam.keys.other_rsa))

    async def test_alg_none_is_refused(self, iam, issuer):
        token = Secret(jwt.encode(iam.id_token(), None, algorithm="none", headers={"kid": "rsa1"}))
        with pytest.raises(OperatorError, match="not accepted"):
            await verify(issuer, token)

    async def test_hmac_is_refused(self, iam, issuer):
        token = Secret(jwt.encode(iam.id_token(), "k" * 32, algorithm="HS256", headers={"kid": "rsa1"}))
        with pytest.raises(OperatorError, match="not accepted"):
            await verify(issuer, token)

    @pytest.mark.parametrize("value", ["", "opaque", "a.b.c", "e30.e30.e30", "é"])
    async def test_what_is_no_jwt_is_refused_without_being_quoted(self, issuer, value):
        with pytest.raises(OperatorError, match="refused"):
            await verify(issuer, Secret(value))

    @pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
    async def test_rsa_signatures_are_accepted(self, iam, issuer, alg):
        del iam.jwks[0]["alg"]
        assert await verify(issuer, iam.sign(iam.id_token(), alg=alg))

    async def test_elliptic_curves_are_accepted(self, iam, issuer):
        iam.jwks = [public(iam.keys.ec, "ec1")]
        assert await verify(issuer, iam.sign(iam.id_token(), key=iam.keys.ec, kid="ec1", alg="ES256"))

    async def test_a_key_serves_its_own_algorithm_only(self, iam, issuer):
        with pytest.raises(OperatorError, match="not among"):
            await verify(issuer, iam.sign(iam.id_token(), alg="PS256"))

    async def test_an_encryption_key_does_not_sign(self, iam, issuer):
        iam.jwks = [public(iam.keys.rsa, "rsa1", use="enc", alg="RSA-OAEP")]
        with pytest.raises(OperatorError, match="not among"):
            await verify(issuer, iam.sign(iam.id_token()))

    async def test_strange_keys_beside_a_good_one_do_no_harm(self, iam, issuer):
        iam.jwks = [{"kty": "OKP"}, {"kty": "RSA", "kid": "rsa1"}, {}, "text", *iam.jwks]
        assert await verify(issuer, iam.sign(iam.id_token()))

    async def test_a_token_without_kid_is_tried_with_every_key(self, iam, issuer):
        iam.jwks.insert(0, public(iam.keys.other_rsa, "rsa0", use="sig"))
        assert await verify(issuer, iam.sign(iam.id_token(), kid=None))

    async def test_no_error_holds_the_token(self, iam, issuer):
        token = iam.sign(iam.id_token(aud="other"), kid="eyJ" + "x" * 60)
        with pytest.raises(IAMError) as caught:
            await verify(issuer, token)
        assert not any(part in caught.value.sentence() for part in token.reveal().split("."))
        assert "xxxx" not in caught.value.sentence()


class TestKeyRotation:
    async def test_a_new_key_is_fetched_at_once(self, iam, issuer):
        await issuer.prefetch()
        iam.jwks.append(public(iam.keys.other_rsa, "rsa2"))
        assert await verify(issuer, iam.sign(iam.id_token(), key=iam.keys.other_rsa, kid="rsa2"))
        assert iam.count("/jwk") == 2

    async def test_made_up_keys_cause_one_request_a_minute(self, iam, issuer, clock):
        await issuer.prefetch()
        for number in range(30):
            with pytest.raises(IAMError):
                await verify(issuer, iam.sign(iam.id_token(), kid=f"made-up-{number}"))
        assert iam.count("/jwk") == 2
        clock.advance(60)
        with pytest.raises(OperatorError):
            await verify(issuer, iam.sign(iam.id_token(), kid="made-up"))
        assert iam.count("/jwk") == 3

    async def test_a_key_that_may_come_within_the_minute_is_an_outage(self, iam, issuer, clock):
        with pytest.raises(OperatorError):
            await verify(issuer, iam.sign(iam.id_token(), kid="made-up"))
        clock.advance(20)
        with pytest.raises(Outage) as caught:
            await verify(issuer, iam.sign(iam.id_token(), kid="rsa2"))
        assert caught.value.retry_after == 40

    async def test_logins_with_a_new_key_at_once_share_the_request(self, iam, issuer):
        await issuer.prefetch()
        iam.jwks.append(public(iam.keys.other_rsa, "rsa2"))
        token = iam.sign(iam.id_token(), key=iam.keys.other_rsa, kid="rsa2")
        assert all(await asyncio.gather(*(verify(issuer, token) for _ in range(20))))
        assert iam.count("/jwk") == 2

    async def test_keys_that_cannot_be_had_are_an_outage(self, iam, issuer):
        iam.answer("/jwk", status=503)
        with pytest.raises(Outage):
            await verify(issuer, iam.sign(iam.id_token()))

    async def test_known_keys_serve_through_an_outage(self, iam, issuer, clock):
        await issuer.prefetch()
        iam.answer("/jwk", status=503)
        iam.answer(DISCOVERY, status=503)
        clock.advance(7200)
        assert await verify(issuer, iam.sign(iam.id_token(exp=NOW + 9000)))
        await settle()

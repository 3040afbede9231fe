"""The stand-in IAM behaves as INDIGO IAM does; every claim here is about something a client trips over."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import stat
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.login import FormBrowser, LoginRefusedError, login_by_forms

from jupyterhub_dlaas.demo.iam import Settings, StandInIAM
from jupyterhub_dlaas.demo.iam.model import EXCHANGE

REDIRECT = "http://127.0.0.1:8000/hub/oauth_callback"
SCOPE = "openid profile email offline_access"


class Asker:
    """Raw HTTP: the tests want to see statuses and codes."""

    def __init__(self, iam: StandInIAM, session: aiohttp.ClientSession) -> None:
        self.iam, self._session = iam, session

    async def post(self, path: str, auth: str = "dlaas:dlaas-secret", **form: str) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()} if auth else {}
        async with self._session.post(self.iam.issuer_url + path, data=form, headers=headers) as answer:
            return answer.status, (await answer.json() if answer.content_length else {})

    async def get(self, path: str, token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._session.get(self.iam.issuer_url + path, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def refresh(self, token: str, **more: str) -> tuple[int, dict[str, Any]]:
        return await self.post("token", grant_type="refresh_token", refresh_token=token, **more)

    async def exchange(self, subject: str, audience: str = "rucio", **more: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": EXCHANGE, "subject_token": subject, "scope": "openid profile", "audience": audience}
        return await self.post("token", **{**form, **more})

    async def control(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        async with self._session.post(self.iam.issuer_url + "control/" + path, json=body) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def iam() -> AsyncIterator[StandInIAM]:
    async with StandInIAM() as running:
        yield running


@pytest.fixture
async def ask(iam: StandInIAM) -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as session:
        yield Asker(iam, session)


def authorize_url(iam: StandInIAM, verifier: str = "v" * 43, **more: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": "dlaas",
        "redirect_uri": REDIRECT,
        "scope": SCOPE,
        "state": "st",
        "nonce": "no",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{iam.issuer_url}authorize?{urlencode(query | more)}"


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def log_in(iam: StandInIAM, url: str, user: str = "alice", password: str = "alice-pw") -> str:
    return await FormBrowser(iam.issuer_url).login(url, user, password)


async def code_of(iam: StandInIAM) -> str:
    return query_of(await log_in(iam, authorize_url(iam)))["code"]


async def test_login_returns_code_and_state_only(iam: StandInIAM) -> None:
    back = await log_in(iam, authorize_url(iam))
    assert back.startswith(REDIRECT)
    assert set(query_of(back)) == {"code", "state"}


async def test_code_gives_tokens_and_a_verifiable_id_token(iam: StandInIAM, ask: Asker) -> None:
    form = {"code": await code_of(iam), "redirect_uri": REDIRECT, "code_verifier": "v" * 43}
    status, tokens = await ask.post("token", grant_type="authorization_code", **form)
    assert status == 200
    _, keys = await ask.get("jwk")
    key = jwt.PyJWKSet.from_dict(keys)["rsa1"]
    claims = jwt.decode(tokens["id_token"], key, algorithms=["RS256"], audience="dlaas", issuer=iam.issuer_url)
    assert claims["nonce"] == "no"
    assert sorted(claims["groups"]) == ["escape", "escape/cms"]
    assert claims["aud"] == "dlaas"


@pytest.mark.parametrize(("verifier", "status"), [({}, 500), ({"code_verifier": "wrong"}, 400)])
async def test_pkce_is_checked(iam: StandInIAM, ask: Asker, verifier: dict[str, str], status: int) -> None:
    form = {"code": await code_of(iam), "redirect_uri": REDIRECT, **verifier}
    assert (await ask.post("token", grant_type="authorization_code", **form))[0] == status


async def test_a_code_works_once(iam: StandInIAM, ask: Asker) -> None:
    form = {"code": await code_of(iam), "redirect_uri": REDIRECT, "code_verifier": "v" * 43}
    await ask.post("token", grant_type="authorization_code", **form)
    status, body = await ask.post("token", grant_type="authorization_code", **form)
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_wrong_password_and_disabled_account_see_the_login_page_again(iam: StandInIAM) -> None:
    with pytest.raises(LoginRefusedError, match="password is wrong"):
        await log_in(iam, authorize_url(iam), password="nope")
    iam.users["alice"].active = False
    with pytest.raises(LoginRefusedError, match="not active"):
        await log_in(iam, authorize_url(iam))


async def test_deny_and_a_foreign_scope_go_back_as_errors(iam: StandInIAM) -> None:
    denied = await FormBrowser(iam.issuer_url).login(authorize_url(iam), "alice", "alice-pw", decision="deny")
    assert query_of(denied) == {"error": "access_denied", "state": "st"}
    foreign = await log_in(iam, authorize_url(iam, scope="nosuch"))
    assert query_of(foreign)["error"] == "invalid_scope"


@pytest.mark.parametrize(
    "redirect",
    ["https://evil.example/hub/oauth_callback", "http://127.0.0.1:80@evil.example/", "http://127.0.0.1.evil/x"],
)
async def test_an_unregistered_redirect_is_never_followed(iam: StandInIAM, redirect: str) -> None:
    with pytest.raises(LoginRefusedError, match="400"):
        await log_in(iam, authorize_url(iam, redirect_uri=redirect))


async def test_prompt_none_always_wants_a_login(iam: StandInIAM) -> None:
    browser = FormBrowser(iam.issuer_url)
    await browser.login(authorize_url(iam), "alice", "alice-pw")
    back = await browser.login(authorize_url(iam, prompt="none"), "", "")
    assert query_of(back)["error"] == "login_required"


async def test_the_aup_is_signed_on_the_way_in(iam: StandInIAM) -> None:
    iam.users["alice"].aup_signed = False
    assert "code" in query_of(await log_in(iam, authorize_url(iam)))
    assert iam.users["alice"].aup_signed


async def test_refresh_rotates_and_kills_the_access_token_but_not_exchanged_ones(iam: StandInIAM, ask: Asker) -> None:
    first = iam.log_in("alice")
    _, exchanged = await ask.exchange(first["access_token"])
    status, second = await ask.refresh(first["refresh_token"])
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert (await ask.get("userinfo", first["access_token"]))[0] == 401
    assert (await ask.get("userinfo", second["access_token"]))[0] == 200
    assert (await ask.get("userinfo", exchanged["access_token"]))[0] == 200


async def test_a_spent_refresh_token_is_401_and_the_session_lives_on(iam: StandInIAM, ask: Asker) -> None:
    first = iam.log_in("alice")
    _, second = await ask.refresh(first["refresh_token"])
    status, body = await ask.refresh(first["refresh_token"])
    assert (status, body["error"]) == (401, "invalid_token")
    assert first["refresh_token"] in body["error_description"]
    assert (await ask.refresh(second["refresh_token"]))[0] == 200


async def test_refuse_reuse_kills_the_session_as_keycloak_does(iam: StandInIAM, ask: Asker) -> None:
    iam.settings.refuse_reuse = True
    first = iam.log_in("alice")
    _, second = await ask.refresh(first["refresh_token"])
    assert (await ask.refresh(first["refresh_token"]))[0] == 400
    assert (await ask.refresh(second["refresh_token"]))[0] == 401
    assert (await ask.get("userinfo", second["access_token"]))[0] == 401


async def test_within_the_race_window_both_win(iam: StandInIAM, ask: Asker) -> None:
    iam.settings.race_window_seconds = 30
    first = iam.log_in("alice")["refresh_token"]
    answers = await asyncio.gather(ask.refresh(first), ask.refresh(first))
    assert [status for status, _ in answers] == [200, 200]
    assert answers[0][1]["refresh_token"] != answers[1][1]["refresh_token"]


async def test_a_client_that_reuses_gets_the_same_refresh_token_back(iam: StandInIAM, ask: Asker) -> None:
    iam.clients["dlaas"].rotates = False
    first = iam.log_in("alice")
    _, second = await ask.refresh(first["refresh_token"])
    assert second["refresh_token"] == first["refresh_token"]
    assert (await ask.get("userinfo", first["access_token"]))[0] == 401


async def test_only_refresh_tells_that_an_account_is_disabled(iam: StandInIAM, ask: Asker) -> None:
    tokens = iam.log_in("alice")
    iam.users["alice"].active = False
    assert (await ask.get("userinfo", tokens["access_token"]))[0] == 200
    assert (await ask.exchange(tokens["access_token"]))[0] == 200
    status, body = await ask.refresh(tokens["refresh_token"])
    assert (status, body["error"], body["error_description"]) == (401, "unauthorized", "User alice is not active.")
    iam.users["alice"].active = True
    assert (await ask.refresh(tokens["refresh_token"]))[0] == 200


async def test_an_unsigned_aup_stops_refresh_and_exchange_not_userinfo(iam: StandInIAM, ask: Asker) -> None:
    tokens = iam.log_in("alice")
    iam.users["alice"].aup_signed = False
    for status, body in (await ask.refresh(tokens["refresh_token"]), await ask.exchange(tokens["access_token"])):
        assert (status, body["error"]) == (400, "invalid_grant")
        assert "needs to sign AUP" in body["error_description"]
    assert (await ask.get("userinfo", tokens["access_token"]))[0] == 200


async def test_exchanged_token_has_what_rucio_and_eos_look_at(iam: StandInIAM, ask: Asker) -> None:
    status, body = await ask.exchange(iam.log_in("alice")["access_token"])
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert status == 200
    assert (claims["aud"], claims["scope"], claims["iss"]) == ("rucio", "openid profile", iam.issuer_url)
    assert claims["sub"] == iam.users["alice"].sub
    assert claims["act"] == {"sub": "dlaas"}
    assert "refresh_token" not in body
    assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:jwt"


async def test_any_audience_is_accepted_and_two_in_one_string_are_a_list(iam: StandInIAM, ask: Asker) -> None:
    _, body = await ask.exchange(iam.log_in("carol")["access_token"], "rucio nobody-knows")
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["aud"] == ["rucio", "nobody-knows"]


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"scope": ""}, 400, "invalid_request"),
        ({"scope": "openid offline_access"}, 403, "access_denied"),
        ({"scope": "openid nosuch"}, 400, "invalid_scope"),
        ({"subject_token": "garbage"}, 401, "invalid_token"),
        ({"subject_token": ""}, 500, "Internal Server Error"),
        ({"actor_token": "x"}, 400, "invalid_request"),
    ],
)
async def test_exchange_refuses_as_indigo_does(
    iam: StandInIAM, ask: Asker, form: dict[str, str], status: int, error: str
) -> None:
    got, body = await ask.exchange(iam.log_in("alice")["access_token"], **form)
    assert (got, body["error"]) == (status, error)


async def test_wrong_secret_is_worded_by_the_method(iam: StandInIAM, ask: Asker) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    status, body = await ask.post("token", auth="dlaas:wrong", **form)
    assert (status, body["error"], body["error_description"]) == (401, "unauthorized", "Bad credentials")
    status, body = await ask.post("token", auth="", client_id="dlaas", client_secret="wrong", **form)
    assert (status, body["error"]) == (401, "invalid_client")


async def test_a_secret_is_sent_raw_in_basic(iam: StandInIAM, ask: Asker) -> None:
    iam.clients["dlaas"].secret = "a+b%/ c:d"
    refresh = iam.log_in("alice")["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    assert (await ask.post("token", auth="dlaas:a%2Bb%25%2F+c%3Ad", **form))[0] == 401
    assert (await ask.post("token", auth="dlaas:a+b%/ c:d", **form))[0] == 200


async def test_revoking_a_refresh_token_takes_its_access_token_along(iam: StandInIAM, ask: Asker) -> None:
    tokens = iam.log_in("alice")
    assert (await ask.post("revoke", token=tokens["refresh_token"]))[0] == 200
    assert (await ask.refresh(tokens["refresh_token"]))[0] == 401
    assert (await ask.get("userinfo", tokens["access_token"]))[0] == 401
    assert (await ask.post("revoke", token="unknown"))[0] == 200


async def test_scim_pages_hold_100_at_most_and_ignore_filter(iam: StandInIAM, ask: Asker) -> None:
    for number in range(150):
        iam.add_user(f"u{number}", groups=["escape"])
    _, token = await ask.post("token", auth="rucio:rucio-secret", grant_type="client_credentials", scope="scim:read")
    _, first = await ask.get("scim/Users?startIndex=1&count=1000&filter=userName+eq+%22bob%22", token["access_token"])
    _, second = await ask.get("scim/Users?startIndex=101&count=1000", token["access_token"])
    assert [first["totalResults"], first["itemsPerPage"], second["itemsPerPage"]] == [153, 100, 53]
    assert first["Resources"][0]["groups"][0]["display"] == "escape"


async def test_an_expired_token_opens_nothing(iam: StandInIAM, ask: Asker) -> None:
    token = iam.log_in("alice")["access_token"]
    iam.clock.advance(3601)
    assert (await ask.get("userinfo", token))[0] == 401
    assert (await ask.exchange(token))[0] == 401


async def test_rotation_keeps_the_old_key_unless_told(iam: StandInIAM, ask: Asker) -> None:
    iam.rotate_keys()
    assert [key["kid"] for key in (await ask.get("jwk"))[1]["keys"]] == ["rsa1", "rsa2"]
    assert jwt.get_unverified_header(iam.log_in("alice")["access_token"])["kid"] == "rsa2"
    iam.rotate_keys(keep_old=False)
    assert [key["kid"] for key in (await ask.get("jwk"))[1]["keys"]] == ["rsa3"]


@pytest.mark.parametrize(
    ("profile", "claim", "value"),
    [
        ("wlcg", "wlcg.groups", ["/ska"]),
        ("aarc", "eduperson_entitlement", ["urn:geant:iam.example.org:group:ska#iam.example.org"]),
        ("kc", "groups", ["/ska"]),
    ],
)
async def test_groups_come_in_the_claim_of_the_profile(
    iam: StandInIAM, ask: Asker, profile: Any, claim: str, value: list[str]
) -> None:
    iam.settings.profile = profile
    tokens = iam.log_in("bob", scope=f"{SCOPE} wlcg.groups")
    assert jwt.decode(tokens["access_token"], options={"verify_signature": False})[claim] == value
    assert (await ask.get("userinfo", tokens["access_token"]))[1][claim] == value


async def test_tokens_can_be_as_long_as_asked(iam: StandInIAM) -> None:
    iam.settings.token_bytes = 1800
    assert 1800 <= len(iam.log_in("alice")["access_token"]) < 1810


async def test_a_status_fault_hits_its_audience_and_so_many_times(iam: StandInIAM, ask: Asker) -> None:
    token = iam.log_in("alice")["access_token"]
    iam.faults.set("exchange", audience="eos", status=429, retry_after=7, times=1)
    assert (await ask.exchange(token, "rucio"))[0] == 200
    assert (await ask.exchange(token, "eos"))[0] == 429
    assert (await ask.exchange(token, "eos"))[0] == 200


async def test_a_dropped_answer_has_rotated_all_the_same(iam: StandInIAM, ask: Asker) -> None:
    refresh = iam.log_in("alice")["refresh_token"]
    iam.faults.set("refresh", drop_answer=True, times=1)
    with pytest.raises(aiohttp.ClientError):
        await ask.refresh(refresh)
    assert (await ask.refresh(refresh))[0] == 401


async def test_a_truncated_answer_is_short_of_its_length(iam: StandInIAM, ask: Asker) -> None:
    iam.faults.set("userinfo", truncate=True)
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask.get("userinfo", iam.log_in("alice")["access_token"])


async def test_a_hang_lasts(iam: StandInIAM, ask: Asker) -> None:
    iam.faults.set("discovery", hang=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask.get(".well-known/openid-configuration"), 0.1)


async def test_discovery_can_lie_about_its_issuer(iam: StandInIAM, ask: Asker) -> None:
    assert (await ask.get(".well-known/openid-configuration"))[1]["issuer"] == iam.issuer_url
    iam.faults.wrong_issuer = "https://other.example/"
    assert (await ask.get(".well-known/openid-configuration"))[1]["issuer"] == "https://other.example/"


async def test_counters_tell_grants_and_how_many_at_once(iam: StandInIAM, ask: Asker) -> None:
    iam.faults.latency_seconds = 0.05
    token = iam.log_in("alice")["access_token"]
    await asyncio.gather(ask.exchange(token, "rucio"), ask.exchange(token, "eos"), ask.exchange("bad", "eos"))
    assert iam.counters.requests["exchange"] == 3
    assert iam.counters.granted["exchange"] == 2
    assert iam.counters.granted["exchange:eos"] == 1
    assert iam.counters.max_concurrent["exchange"] == 3


async def test_everything_can_be_switched_over_http(iam: StandInIAM, ask: Asker) -> None:
    tokens = iam.log_in("alice")
    assert (await ask.control("users/alice", {"active": False, "remove_groups": ["escape/cms"]}))[0] == 200
    assert (iam.users["alice"].active, iam.users["alice"].groups) == (False, ["escape"])
    await ask.control("users/alice", {"active": True, "end_sessions": True})
    assert (await ask.refresh(tokens["refresh_token"]))[0] == 401
    await ask.control("audiences", {"refuse": "rucio", "like": "keycloak"})
    assert (await ask.exchange(iam.log_in("alice")["access_token"]))[0] == 400
    await ask.control("faults", {"endpoint": "token", "status": 503})
    assert (await ask.refresh("x"))[0] == 503
    assert (await ask.control("faults", {"endpoint": "nosuch"}))[0] == 400
    before = iam.clock.now()
    await ask.control("clock", {"advance": 1000})
    assert iam.clock.now() >= before + 1000


async def test_stopped_is_an_outage_and_started_again_knows_everything(iam: StandInIAM, ask: Asker) -> None:
    refresh, issuer = iam.log_in("alice")["refresh_token"], iam.issuer_url
    await iam.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask.refresh(refresh)
    await iam.start()
    assert iam.issuer_url == issuer
    assert (await ask.refresh(refresh))[0] == 200


async def test_state_survives_a_new_process_and_holds_no_token(tmp_path: Any) -> None:
    async with StandInIAM(state=tmp_path) as iam:
        tokens, port = iam.log_in("alice"), iam.port
    text = (tmp_path / "iam.json").read_text()
    assert stat.S_IMODE((tmp_path / "iam.json").stat().st_mode) == 0o600
    assert not any(tokens[name] in text for name in ("access_token", "refresh_token", "id_token"))
    async with StandInIAM(state=tmp_path, port=port) as again, aiohttp.ClientSession() as session:
        asker = Asker(again, session)
        assert (await asker.get("userinfo", tokens["access_token"]))[0] == 200
        assert (await asker.refresh(tokens["refresh_token"]))[0] == 200


async def test_a_damaged_state_file_is_named(tmp_path: Any) -> None:
    (tmp_path / "iam.json").write_text(json.dumps({"keys": []})[:-3])
    with pytest.raises(ValueError, match=r"iam\.json cannot be read"):
        StandInIAM(state=tmp_path)


async def test_es256_for_loads(ask: Asker) -> None:
    async with StandInIAM(settings=Settings(key_type="EC")) as iam:
        assert jwt.get_unverified_header(iam.log_in("alice")["access_token"])["alg"] == "ES256"
        iam.rotate_keys()


async def test_no_token_is_logged(iam: StandInIAM, ask: Asker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    tokens = iam.log_in("alice")
    await ask.refresh(tokens["refresh_token"])
    await ask.refresh(tokens["refresh_token"])
    await ask.exchange(secrets.token_urlsafe() + tokens["access_token"])
    assert "refresh for client dlaas granted" in caplog.text
    assert not any(token in caplog.text for token in (tokens["access_token"], tokens["refresh_token"]))


async def test_login_by_forms_starts_at_the_hub_and_ends_with_its_callback(iam: StandInIAM) -> None:
    async def to_issuer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": authorize_url(iam), "Set-Cookie": "state=kept; Path=/"})

    hub = web.Application()
    hub.add_routes([web.get("/hub/oauth_login", to_issuer)])
    jar = aiohttp.CookieJar(unsafe=True)
    async with TestServer(hub) as server, aiohttp.ClientSession(cookie_jar=jar) as session:
        back = await login_by_forms(session, str(server.make_url("/hub/oauth_login")), "alice", "alice-pw")
        assert back.startswith(REDIRECT)
        assert [cookie.key for cookie in jar] == ["state"]


async def test_its_own_process_speaks_until_it_is_told_to_stop(tmp_path: Any) -> None:
    command = (sys.executable, "-m", "jupyterhub_dlaas.demo.iam", "--state", str(tmp_path), "--extra-users", "2")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    issuer_url = json.loads(await process.stdout.readline())["issuer_url"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{issuer_url}.well-known/openid-configuration") as answer,
    ):
        assert (await answer.json())["issuer"] == issuer_url
    process.terminate()
    assert await process.wait() == 0
    assert "user1" in json.loads((tmp_path / "iam.json").read_text())["users"]

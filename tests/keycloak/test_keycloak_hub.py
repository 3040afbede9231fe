"""The hub on a real Keycloak: what only its own sessions, errors and clock can show."""

from __future__ import annotations

import asyncio
import os

import pytest
from support.hub import Browser
from support.scene import JSON, Person, Server, problems_of, until, words

from jupyterhub_dlaas.hub.service import groups_of
from jupyterhub_dlaas.oidc.claims import audiences, unverified_claims
from jupyterhub_dlaas.oidc.secret import Secret
from keycloak.conftest import Lake

pytestmark = pytest.mark.skipif(os.environ.get("DLAAS_TEST_ISSUER") != "keycloak", reason="runs on Keycloak alone")

SHORT_SECONDS = 8
AUDIENCES = ("rucio", "eos-eulake")


async def assert_nobody_is_logged_out(lake: Lake, person: Person, server: Server) -> None:
    assert person.logged_in
    assert await person.home() == (200, "home")
    status, text = await lake.call("/hub/api/user", (await server.environ())["JUPYTERHUB_API_TOKEN"])
    assert status == 200, text


def expired(lake: Lake, person: Person) -> bool:
    """Whether the login's own access token and those of all audiences have expired."""
    session = lake.hub.dlaas.keeper.session(person.name)
    held = [session.access, *session.tokens.values()]
    return not any(one is not None and one.expires_at > lake.clock.now() for one in held)


# ---- login and exchange


async def test_a_login_brings_groups_and_a_token_for_each_audience(lake: Lake) -> None:
    person, server = await lake.working()
    assert groups_of(lake.hub.user("alice")) == {"escape", "escape/cms"}
    for key in AUDIENCES:
        token = Secret(await server.text(f"tokens/{key}") or "")
        assert audiences(unverified_claims(token)) == {key}
    assert problems_of(await server.status()) == {}
    assert person.logged_in


async def test_who_is_in_no_group_gets_no_server(lake: Lake) -> None:
    person = await lake.person(name="carol")
    assert groups_of(lake.hub.user("carol")) == set()
    status, text = await person.ask(environment="escape/root")
    assert status == 403
    assert "no environment is offered to your groups" in words(text)


async def test_who_has_no_role_for_an_audience_is_told_so_in_words_and_gets_the_others(lake: Lake) -> None:
    await lake.keycloak.set_groups("carol", ["guests"])
    person = await lake.person(name="carol")
    server = await person.start(environment="guests/look")
    assert await server.text("tokens/rucio") is None
    assert await server.has_token("eos-eulake")
    assert problems_of(await server.status()) == {"rucio": "no_entitlement"}
    status, page = await person.browser.get("/hub/dlaas/status")
    assert status == 200
    assert "IAM does not give you access to rucio." in words(page)


async def test_a_group_that_is_lost_ends_exchanges_and_starts_but_not_the_server(lake: Lake) -> None:
    await lake.keycloak.set_token_seconds(SHORT_SECONDS)
    person, server = await lake.working()
    await lake.keycloak.set_groups("alice", [])
    await until(lambda: person.trouble("rucio") == "no_entitlement")
    assert (await person.ask("second", environment="escape/root"))[0] == 403
    await assert_nobody_is_logged_out(lake, person, server)


# ---- renewal


async def test_files_are_never_expired_over_three_lifetimes_in_which_nobody_asks(lake: Lake) -> None:
    await lake.keycloak.set_token_seconds(SHORT_SECONDS)
    person, server = await lake.working()
    await person.browser.session.close()
    person.browser = Browser(lake.hub)  # no cookie: nobody is there
    end = lake.clock.now() + 3 * SHORT_SECONDS
    seen: set[str | None] = set()

    async def three_lifetimes_later() -> bool:
        for key in AUDIENCES:
            assert (await server.seconds_left(key) or 0) > 0
            seen.add(await server.text(f"tokens/{key}"))
        return lake.clock.now() > end

    await until(three_lifetimes_later, 4 * SHORT_SECONDS, pace=0.25)
    assert len(seen) >= 3 * len(AUDIENCES)
    assert person.logged_in


async def test_an_online_session_is_used_before_it_dies_of_idleness(online_lake: Lake) -> None:
    lake, idle_seconds = online_lake, 8
    await lake.keycloak.set_idle_seconds(idle_seconds)  # access tokens last far longer
    idler = await lake.person(name="bob")
    person, server = await lake.working()
    assert "offline_access" not in (await person.auth_state())["scope"]
    end = lake.clock.now() + 2 * idle_seconds
    await until(lambda: lake.clock.now() > end, 3 * idle_seconds, pace=0.25)
    assert await lake.session_is_good(person)
    assert await server.has_token()
    # bob has no server, so nobody used his session: it shows that this one would have died, too.
    assert not await lake.session_is_good(idler)


# ---- races: Keycloak ends a session in which one refresh token is used twice


async def test_forty_requests_and_a_start_at_the_moment_of_expiry_make_one_refresh(lake: Lake) -> None:
    await lake.keycloak.set_token_seconds(SHORT_SECONDS)
    person = await lake.person()
    await lake.keycloak.set_token_seconds(60)
    token = lake.hub.user("alice").new_api_token()
    await until(lambda: expired(lake, person), 2 * SHORT_SECONDS)
    before = lake.refreshes()
    answers = await asyncio.gather(
        *(person.home() for _ in range(25)), *(lake.call("/hub/api/user", token) for _ in range(15)), person.ask()
    )
    assert lake.refreshes() == {**before, "ok": before.get("ok", 0) + 1}
    assert [status for status, _ in answers] == [200] * 40 + [201]
    assert {where for _, where in answers[:25]} == {"home"}
    assert await lake.session_is_good(person)


async def test_a_hub_that_restarts_after_expiry_refreshes_once_for_pages_servers_and_agents(lake: Lake) -> None:
    await lake.keycloak.set_token_seconds(SHORT_SECONDS)
    person, server = await lake.working()
    own = (await server.environ())["JUPYTERHUB_API_TOKEN"]
    agents = server.agent_token
    await lake.hub.stop()
    left = [await server.seconds_left(key) or 0 for key in AUDIENCES]
    await lake.keycloak.set_token_seconds(60)
    end = lake.clock.now() + max(left)
    await until(lambda: lake.clock.now() > end, 2 * SHORT_SECONDS)
    before = lake.refreshes()
    await lake.hub.start()
    answers = await asyncio.gather(
        *(person.home() for _ in range(20)),
        *(lake.call("/hub/api/user", own) for _ in range(15)),
        *(lake.call("/hub/dlaas/bundle", agents) for _ in range(5)),
    )
    await until(lambda: not expired(lake, person))
    assert lake.refreshes() == {**before, "ok": before.get("ok", 0) + 1}
    assert {status for status, _ in answers} == {200}
    assert await lake.session_is_good(person)


# ---- what Keycloak says of the account and of the session


async def test_a_disabled_account_keeps_its_session_and_works_again_once_enabled(lake: Lake) -> None:
    await lake.keycloak.set_token_seconds(SHORT_SECONDS)
    person, server = await lake.working()
    await lake.keycloak.set_active("alice", False)
    await until(lambda: person.trouble() == "account_disabled")
    await assert_nobody_is_logged_out(lake, person, server)
    assert "your account is suspended" in words((await person.browser.get("/hub/dlaas/status"))[1])
    await until(lambda: _problem(server, "account_disabled"))
    await lake.keycloak.set_active("alice", True)

    async def renewed() -> bool:
        status, _ = await person.browser.post("/hub/dlaas/renew", headers=JSON)
        return status == 200 and person.trouble() == ""

    await until(renewed, 20, pace=5.5)  # a person need not wait longer between two tries
    await until(server.has_token)
    assert problems_of(await server.status()) == {}


async def test_a_session_that_an_administrator_ends_asks_for_a_login_which_heals_the_server(lake: Lake) -> None:
    await lake.keycloak.set_token_seconds(SHORT_SECONDS)
    person, server = await lake.working()
    await lake.keycloak.end_sessions("alice")
    await until(lambda: person.trouble() == "dead_session")
    assert (await person.home())[1] == "login"
    status, text = await lake.call("/hub/api/user", (await server.environ())["JUPYTERHUB_API_TOKEN"])
    assert status == 200, text
    before = await server.text("tokens/rucio")
    assert (await person.log_in())[0] == 200
    await until(lambda: server.has_token(other_than=before))
    assert problems_of(await server.status()) == {}
    assert await person.home() == (200, "home")


# ---- outage


async def test_while_keycloak_is_stopped_all_goes_on_and_then_heals_by_itself(lake: Lake) -> None:
    await lake.keycloak.set_token_seconds(20)
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    await lake.keycloak.stop()
    await until(lambda: person.trouble() == "outage", 20)
    await assert_nobody_is_logged_out(lake, person, server)
    assert await server.text("tokens/rucio") == before
    await until(lambda: expired(lake, person), 30)
    await assert_nobody_is_logged_out(lake, person, server)
    await lake.keycloak.start()
    await until(lambda: server.has_token(other_than=before), 90, pace=0.25)
    await until(lambda: person.trouble() == "")
    await assert_nobody_is_logged_out(lake, person, server)


async def _problem(server: Server, label: str) -> bool:
    return problems_of(await server.status()).get("rucio") == label

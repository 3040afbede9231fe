"""What IAM says of a session, an account or a right, and what then becomes of running servers."""

from __future__ import annotations

import json

import aiohttp
import pytest
from support.scene import Person, Scene, Server, problems_of, until, words

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def lose_session(lake: Scene, person: Person) -> None:
    """An administrator ends the session at IAM, and the hub learns it at the next refresh."""
    lake.iam.end_sessions(person.name)
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "dead_session")


async def refresh_elsewhere(lake: Scene, person: Person) -> int:
    """Somebody else uses the user's refresh token."""
    form = {"grant_type": "refresh_token", "refresh_token": (await person.auth_state())["refresh_token"]}
    client = lake.iam.clients["dlaas"]
    form |= {"client_id": client.client_id, "client_secret": client.secret}
    async with aiohttp.ClientSession() as session:
        async with session.post(lake.iam.issuer_url + "token", data=form) as answer:
            return answer.status


async def is_served(lake: Scene, server: Server) -> bool:
    status, _ = await lake.call("/hub/api/user", (await server.environ())["JUPYTERHUB_API_TOKEN"])
    return status == 200


# ---- a dead session


async def test_a_dead_session_sends_the_browser_to_the_login(lake: Scene) -> None:
    person, _ = await lake.working()
    await lose_session(lake, person)
    assert (await person.home())[1] == "login"


async def test_a_dead_session_refuses_no_request_of_the_server(lake: Scene) -> None:
    person, server = await lake.working()
    await lose_session(lake, person)
    lake.clock.advance(300)
    assert await is_served(lake, server)
    assert (await lake.call("/hub/dlaas/bundle", server.agent_token))[0] == 200


async def test_a_dead_session_leaves_the_files_until_they_expire(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    await lose_session(lake, person)
    assert await server.text("tokens/rucio") == before
    await until(lambda: _problem(server, "rucio", "dead_session"))
    lake.clock.advance(3000)
    await until(lambda: _gone(server, "tokens/rucio"))
    assert "Log in again" in (await server.status())["audiences"]["rucio"]["problem"]["sentence"]


async def test_a_new_login_heals_the_running_servers_of_a_dead_session(lake: Scene) -> None:
    person, server = await lake.working()
    named = await person.start("second")
    await lose_session(lake, person)
    lake.clock.advance(3000)
    await until(lambda: _gone(server, "tokens/rucio"))
    status, text = await person.log_in()
    assert status == 200, words(text)
    await until(server.has_token)
    await until(named.has_token)
    assert problems_of(await server.status()) == {}
    await lake.pass_time(3600, step=600)
    await until(server.has_token)


async def test_agents_ask_at_least_every_45_seconds_so_a_login_heals_within_a_minute(lake: Scene) -> None:
    assert type(lake.hub.dlaas.config).agent_poll_seconds.default_value <= 45


async def test_a_dead_session_is_one_readable_line(lake: Scene) -> None:
    person, _ = await lake.working()
    since = lake.log_size()
    await lose_session(lake, person)
    await lake.pass_time(3600, step=600)
    lines = [line for line in lake.log(since).splitlines() if f"user={person.name} " in line and "class=" in line]
    assert len([line for line in lines if not line.startswith("DEBUG")]) == 1, lines
    assert "class=dead_session" in lines[0]
    assert "[" not in lines[0].replace("[redacted]", "")


async def test_nothing_is_asked_of_iam_for_a_dead_session(lake: Scene) -> None:
    person, _ = await lake.working()
    await lose_session(lake, person)
    lake.iam.counters.clear()
    await lake.pass_time(3600, step=600)
    assert not lake.iam.counters.requests["token"]


async def test_a_server_is_not_started_on_a_dead_session(lake: Scene) -> None:
    person, _ = await lake.working()
    await lose_session(lake, person)
    token = lake.hub.user(person.name).new_api_token()
    status, text = await lake.call(f"/hub/api/users/{person.name}/servers/other", token, "POST", json={})
    assert status in (403, 500), text
    assert not lake.hub.user(person.name).spawners["other"].active


async def test_a_dead_session_is_still_dead_after_a_hub_restart(lake: Scene) -> None:
    person, server = await lake.working()
    await lose_session(lake, person)
    await lake.hub.restart()
    assert (await person.home())[1] == "login"
    assert (await person.log_in())[0] == 200
    before = await server.text("tokens/rucio")
    await lake.pass_time(3600, step=600)
    await until(lambda: server.has_token(other_than=before))


# ---- refresh tokens that were used elsewhere, or whose successor was lost


async def test_a_rotated_refresh_token_whose_answer_was_lost_asks_for_one_login(lake: Scene) -> None:
    person, server = await lake.working()
    lake.iam.faults.set("refresh", drop_answer=True, times=1)
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "outage")
    lake.clock.advance(130)
    await until(lambda: person.trouble() == "dead_session")
    assert await is_served(lake, server)
    assert (await person.log_in())[0] == 200
    await until(lambda: person.trouble() == "")
    before = await server.text("tokens/rucio")
    await lake.pass_time(3600, step=600)
    await until(lambda: server.has_token(other_than=before))


async def test_where_iam_keeps_the_refresh_token_a_lost_answer_is_an_outage_alone(lake: Scene) -> None:
    lake.iam.clients["dlaas"].rotates = False
    try:
        person, server = await lake.working()
        lake.iam.faults.set("refresh", drop_answer=True, times=1)
        lake.clock.advance(1000)
        await until(lambda: person.trouble() == "outage")
        lake.clock.advance(130)
        await until(lambda: person.trouble() == "")
        assert person.logged_in
        assert await server.has_token()
    finally:
        lake.iam.clients["dlaas"].rotates = True


@pytest.mark.parametrize("kills_the_session", [False, True], ids=["as_indigo", "as_keycloak"])
async def test_a_refresh_token_used_elsewhere_asks_for_one_login(lake: Scene, kills_the_session: bool) -> None:
    lake.iam.settings.refuse_reuse = kills_the_session
    person, server = await lake.working()
    assert await refresh_elsewhere(lake, person) == 200
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "dead_session")
    assert await is_served(lake, server)
    assert (await person.log_in())[0] == 200
    await until(lambda: person.trouble() == "")
    assert (await person.home())[1] == "home"


async def test_a_renewal_begun_under_an_older_login_throws_its_result_away(lake: Scene) -> None:
    person, server = await lake.working()
    old = (await person.auth_state())["dlaas"]["generation"]
    slow = lake.iam.faults.set("refresh", delay_seconds=1.0)
    lake.iam.counters.clear()
    lake.clock.advance(3000)
    await until(lambda: lake.iam.counters.requests["refresh"])
    since = lake.log_size()
    assert (await person.log_in())[0] == 200
    mine = await person.auth_state()
    assert mine["dlaas"]["generation"] != old
    await until(lambda: "renewal thrown away" in lake.log(since))
    lake.iam.faults.remove(slow)
    assert (await person.auth_state())["refresh_token"] == mine["refresh_token"]
    await until(server.has_what_the_hub_has)
    await lake.pass_time(3600, step=600)
    assert person.trouble() == ""


async def test_a_login_does_not_wait_for_a_renewal_under_way(lake: Scene) -> None:
    person, _ = await lake.working()
    lake.iam.faults.set("refresh", delay_seconds=2.0, times=1)
    since = lake.log_size()
    lake.clock.advance(3000)
    await until(lambda: lake.iam.counters.now["refresh"])
    status, text = await person.log_in()
    assert status == 200, words(text)
    assert lake.iam.counters.now["refresh"] == 1
    await until(lambda: "renewal thrown away" in lake.log(since))


# ---- the account


async def test_a_disabled_account_keeps_its_session_and_heals_without_a_login(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    person.account.active = False
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "account_disabled")
    assert await person.home() == (200, "home")
    assert await is_served(lake, server)
    assert await server.text("tokens/rucio") == before
    person.account.active = True
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "")
    lake.clock.advance(3000)
    await until(lambda: server.has_token(other_than=before))


async def test_a_disabled_account_gets_no_new_token_although_iam_would_exchange(lake: Scene) -> None:
    person, server = await lake.working()
    person.account.active = False
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "account_disabled")
    lake.iam.counters.clear()
    await lake.pass_time(3600, step=300)
    assert not lake.iam.counters.requests["exchange"]
    await until(lambda: _gone(server, "tokens/rucio"))
    assert "suspended" in (await server.status())["audiences"]["rucio"]["problem"]["sentence"]


async def test_an_unsigned_policy_is_told_with_the_address_to_sign_it_at(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    person.account.aup_signed = False
    lake.clock.advance(1000)
    await until(lambda: _problem(server, "rucio", "user_action"))
    assert lake.iam.issuer_url in (await server.status())["audiences"]["rucio"]["problem"]["sentence"]
    assert await person.home() == (200, "home")
    assert await is_served(lake, server)
    person.account.aup_signed = True
    lake.clock.advance(3000)
    await until(lambda: server.has_token(other_than=before))
    assert person.logged_in


async def test_the_renew_button_heals_at_once_what_the_user_has_mended(lake: Scene) -> None:
    person, server = await lake.working()
    person.account.aup_signed = False
    lake.clock.advance(1000)
    await until(lambda: _problem(server, "rucio", "user_action"))
    person.account.aup_signed = True
    lake.clock.advance(6)
    status, text = await person.browser.post("/hub/dlaas/renew", headers={"Accept": "application/json"})
    assert status == 200, text
    await until(lambda: _problem(server, "rucio", ""))


# ---- audiences


async def test_an_audience_refused_later_concerns_that_audience_alone(lake: Scene) -> None:
    person, server = await lake.working()
    rucio, eos = await server.text("tokens/rucio"), await server.text("tokens/eos-eulake")
    lake.iam.faults.refuse("rucio", like="keycloak")
    lake.clock.advance(3000)
    await until(lambda: server.has_token("eos-eulake", other_than=eos))
    assert await server.text("tokens/rucio") == rucio
    assert problems_of(await server.status()) == {"rucio": "no_entitlement"}
    assert await person.home() == (200, "home")
    lake.clock.advance(650)
    await until(lambda: _gone(server, "tokens/rucio"))
    lake.iam.faults.clear()
    lake.clock.advance(1000)
    await until(server.has_token)
    assert person.logged_in


async def test_an_audience_in_a_policys_words_is_a_matter_for_the_administrator(lake: Scene) -> None:
    person, server = await lake.working()
    lake.iam.faults.refuse("rucio", like="indigo")
    lake.clock.advance(3000)
    await until(lambda: _problem(server, "rucio", "operator_error"))
    assert person.trouble("eos-eulake") == ""


# ---- groups


async def test_who_loses_the_vo_gets_no_new_token_and_keeps_the_server(lake: Scene) -> None:
    person, server = await lake.working()
    person.account.groups = []
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "no_entitlement")
    assert not lake.hub.user(person.name).groups
    lake.iam.counters.clear()
    await lake.pass_time(3600, step=300)
    assert not lake.iam.counters.requests["exchange"]
    assert server.spawner.ready
    assert (await server._get("environ"))[0] == 200
    await until(lambda: _gone(server, "tokens/rucio"))


async def test_who_has_lost_the_vo_starts_nothing(lake: Scene) -> None:
    person, _ = await lake.working()
    person.account.groups = []
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "no_entitlement")
    status, text = await person.ask("second", environment="escape/root")
    assert (status, "You may not start a server here" in text) == (403, True)


async def test_who_has_lost_the_vo_since_the_last_check_starts_nothing_either(lake: Scene) -> None:
    person = await lake.person()
    person.account.groups = []
    lake.clock.advance(1000)
    status, text = await person.ask(environment="escape/root")
    assert (status, "You may not start a server here" in text) == (403, True), text


async def test_who_is_in_the_vo_again_gets_tokens_again(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    person.account.groups = []
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "no_entitlement")
    person.account.groups = ["escape"]
    await lake.pass_time(3600, step=600)
    await until(lambda: server.has_token(other_than=before))
    await until(lambda: _problem(server, "rucio", ""))


async def test_a_new_group_shows_at_the_next_refresh(lake: Scene) -> None:
    person, _ = await lake.working()
    person.account.groups = ["escape", "ska"]
    lake.clock.advance(1000)
    await until(lambda: {group.name for group in lake.hub.user(person.name).groups} == {"escape", "ska"})
    status, text = await person.ask("second", environment="ska/astro")
    assert status == 201, text


async def test_metrics_tell_classes_and_name_nobody(lake: Scene) -> None:
    person, _ = await lake.working()
    await lose_session(lake, person)
    _, text = await person.browser.get("/hub/metrics")
    ours = [line for line in text.splitlines() if line.startswith("dlaas_")]
    assert any('dlaas_refreshes_total{class="dead_session"}' in line for line in ours), text[-2000:]
    assert any(line.startswith("dlaas_sessions_dead") for line in ours)
    assert not any(person.name in line for line in ours)


async def _gone(server: Server, path: str) -> bool:
    return await server.text(path) is None


async def _problem(server: Server, key: str, label: str) -> bool:
    """Whether the server's own status.json tells this class of problem ("" for none)."""
    text = await server.text("status.json")
    problem = json.loads(text)["audiences"][key]["problem"] if text else None
    return bool(text) and (problem["class"] if problem else "") == label

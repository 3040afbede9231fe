"""Logging in: who becomes whom, what they may do, and what a login says that cannot be."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pytest
import pytest_asyncio
from support.login import FormBrowser, login_by_forms
from support.scene import JSON, Person, Scene, until, words
from traitlets.config import Config

pytestmark = pytest.mark.asyncio(loop_scope="module")


def configure(c: Config) -> None:
    c.IAMAuthenticator.admin_groups = {"/escape/admins"}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def healthy(lake: Scene) -> AsyncIterator[None]:
    yield
    lake.iam.settings.token_bytes = 0
    lake.clock.advance(120)  # keys may be fetched again, at most once a minute


def user_of(lake: Scene, person: Person) -> Any:
    return lake.hub.user(person.name)


# ---- who


async def test_groups_of_iam_are_groups_of_the_hub(lake: Scene) -> None:
    person = await lake.person("escape", "escape/cms")
    assert {group.name for group in user_of(lake, person).groups} == {"escape", "escape/cms"}


async def test_members_of_an_admin_group_are_administrators(lake: Scene) -> None:
    assert user_of(lake, await lake.person("escape", "escape/admins")).admin
    assert not user_of(lake, await lake.person("escape")).admin


async def test_the_name_is_normalised(lake: Scene) -> None:
    person = await lake.newcomer(name="Ada")
    assert (await person.log_in())[0] == 200
    assert "ada" in [user.name for user in lake.hub.app.users.values()]
    person.name = "ada"


async def test_two_accounts_never_become_one_user(lake: Scene) -> None:
    first = await lake.person()
    lake.iam.users[first.name].sub = "somebody-else"
    second = Person(lake, first.name)
    status, text = await second.log_in()
    await second.browser.session.close()
    assert status == 403
    assert f"{first.name}&#39; on this hub belongs to another account of IAM" in text
    assert (await first.home())[1] == "home"


async def test_names_that_normalise_alike_do_not_become_one_user(lake: Scene) -> None:
    await lake.person(name="grace")
    other = await lake.newcomer(name="Grace")
    assert (await other.log_in())[0] == 403


async def test_a_new_login_of_the_same_account_is_let_in(lake: Scene) -> None:
    person = await lake.person()
    assert (await person.log_in())[0] == 200


async def test_a_disabled_account_cannot_log_in(lake: Scene) -> None:
    person = await lake.newcomer()
    person.account.active = False
    with pytest.raises(AssertionError, match=r"active|disabled|suspended"):
        await person.log_in()


# ---- in no VO


async def test_who_is_in_no_vo_logs_in_and_is_told_why_there_is_nothing_to_start(lake: Scene) -> None:
    person = await lake.person("-")
    status, text = await person.browser.get("/hub/spawn")
    assert status == 200
    assert "Your account is in none of the groups that this hub serves" in text


async def test_who_is_in_no_vo_starts_nothing_by_form(lake: Scene) -> None:
    person = await lake.person("-")
    await person.browser.get("/hub/spawn")
    _, text = await person.browser.post(f"/hub/spawn/{person.name}", {"environment": "escape/root"})
    assert "no environment is offered to your groups" in text
    assert not user_of(lake, person).active


@pytest.mark.parametrize("options", [{}, {"environment": "escape/root"}, {"environment": "ska/astro"}])
async def test_who_is_in_no_vo_starts_nothing_by_rest(lake: Scene, options: dict[str, str]) -> None:
    person = await lake.person("-")
    status, text = await person.ask(**options)
    assert (status, json.loads(text)["message"].partition(":")[0]) == (403, "You may not start a server here")
    assert not user_of(lake, person).active


# ---- audiences


async def test_a_refused_required_audience_stops_the_login_with_a_page(lake: Scene) -> None:
    lake.iam.faults.refuse("rucio")
    status, text = await (await lake.newcomer("ska")).log_in()
    assert status == 500
    for part in ("Without it you cannot work with ska", "rucio", "Policy forbids", "support@example.org"):
        assert part in text


async def test_an_audience_that_another_vo_needs_does_not_stop_the_login(lake: Scene) -> None:
    lake.iam.faults.refuse("rucio", like="keycloak")
    assert (await (await lake.newcomer("escape")).log_in())[0] == 200


async def test_a_refused_optional_audience_is_named_by_the_status(lake: Scene) -> None:
    lake.iam.faults.refuse("eos-eulake", like="keycloak")
    person, server = await lake.working()
    _, text = await person.browser.get("/hub/dlaas/status", headers=JSON)
    found = {entry["audience"]: entry["problem"] for entry in json.loads(text)["servers"][0]["audiences"]}
    assert found["rucio"] is None
    assert found["eos-eulake"]["class"] == "no_entitlement"
    assert "eos-eulake" in found["eos-eulake"]["message"]
    assert await server.text("tokens/eos-eulake") is None
    assert await server.text("tokens/rucio")


async def test_audiences_are_exchanged_all_at_once(lake: Scene) -> None:
    lake.iam.faults.latency_seconds = 0.1
    lake.iam.counters.clear()
    await lake.person()
    assert lake.iam.counters.max_concurrent["exchange"] == 2
    assert lake.iam.counters.max_concurrent["userinfo"] == 1


# ---- what is kept


async def test_auth_state_holds_no_id_token(lake: Scene) -> None:
    state = await (await lake.person()).auth_state()
    assert "id_token" not in json.dumps(state)
    assert "token_response" not in state


async def test_auth_state_is_encrypted(lake: Scene) -> None:
    person = await lake.person()
    # The whole token: three letters of one are in the ciphertext by chance every few dozen times.
    token = person.held("rucio")
    assert token
    assert token.encode() not in user_of(lake, person).encrypted_auth_state


# ---- what does not fit


async def callback(person: Person) -> str:
    """Everything up to the redirect that leaves IAM, without following it."""
    hub = person.scene.hub.url
    return await login_by_forms(person.browser.session, f"{hub}/hub/oauth_login", person.name, f"{person.name}-pw")


def changed(url: str, **query: str) -> str:
    parts = urlsplit(url)
    fields = {name: values[0] for name, values in parse_qs(parts.query).items()} | query
    return urlunsplit(parts._replace(query=urlencode(fields)))


async def test_another_state_is_refused(lake: Scene) -> None:
    person = await lake.newcomer()
    url = await callback(person)
    assert (await person.browser.get(changed(url, state="forged")))[0] in (400, 403)
    assert (await person.home())[1] != "home"


async def test_a_login_begun_in_another_browser_is_refused(lake: Scene) -> None:
    attacker, victim = await lake.newcomer(), await lake.newcomer()
    url = await callback(attacker)
    await callback(victim)
    assert (await victim.browser.get(url))[0] in (400, 403)
    assert (await victim.home())[1] != "home"


async def test_an_id_token_of_another_login_is_refused(lake: Scene) -> None:
    person = await lake.newcomer()
    hub = lake.hub.url
    async with person.browser.session.get(f"{hub}/hub/oauth_login", allow_redirects=False) as answer:
        authorize = changed(answer.headers["Location"], nonce="of-another-login")
    url = await FormBrowser(authorize).login(authorize, person.name, f"{person.name}-pw")
    status, text = await person.browser.get(url)
    assert status == 400, words(text)
    assert "does not belong to the page it was started from" in text, words(text)
    assert (await person.home())[1] != "home"


async def test_a_code_is_good_once(lake: Scene) -> None:
    person = await lake.newcomer()
    url = await callback(person)
    assert (await person.browser.get(url))[0] == 200
    assert (await person.browser.get(url))[0] == 400


async def test_a_key_rotated_between_two_logins_is_fetched(lake: Scene) -> None:
    await lake.person()
    lake.iam.rotate_keys(keep_old=False)
    await lake.person()


async def test_keys_are_fetched_at_most_once_a_minute(lake: Scene) -> None:
    await lake.person()
    lake.iam.rotate_keys(keep_old=False)
    await lake.person()
    lake.iam.rotate_keys(keep_old=False)
    lake.iam.counters.clear()
    status, text = await (await lake.newcomer()).log_in()
    assert status == 503
    assert "Log in again in a minute" in text
    assert lake.iam.counters.requests["jwk"] == 0
    lake.clock.advance(61)
    await lake.person()


@pytest.mark.parametrize("where", ["code", "userinfo"])
async def test_an_iam_that_fails_in_the_middle_of_a_login_is_said_to_be_the_reason(lake: Scene, where: str) -> None:
    lake.iam.faults.set(where, status=503)
    status, text = await (await lake.newcomer()).log_in()
    assert status == 503
    assert "IAM cannot answer now" in text
    assert "support@example.org" in text


async def test_a_wrong_client_secret_is_a_matter_for_the_administrator(lake: Scene) -> None:
    right, lake.iam.clients["dlaas"].secret = lake.iam.clients["dlaas"].secret, "changed-at-iam"
    try:
        status, text = await (await lake.newcomer()).log_in()
    finally:
        lake.iam.clients["dlaas"].secret = right
    assert status == 500
    assert "client_secret" in text


# ---- logging out


async def test_a_logout_without_servers_ends_the_session_at_iam(lake: Scene) -> None:
    person = await lake.person()
    token = (await person.auth_state())["refresh_token"]
    lake.iam.counters.clear()
    await person.browser.get("/hub/logout")
    await until(lambda: lake.iam.counters.granted["revoke"])
    state = await person.auth_state()
    assert token not in json.dumps(state)
    assert set(state) == {"dlaas"}
    assert set(state["dlaas"]) == {"sub", "issuer"}


async def test_a_logout_leaves_a_running_servers_tokens_alive(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    await person.browser.get("/hub/logout")
    await lake.pass_time(3660)
    await until(lambda: server.has_token(other_than=before))


async def test_after_a_logout_the_name_still_belongs_to_its_account(lake: Scene) -> None:
    person = await lake.person()
    await person.browser.get("/hub/logout")
    person.account.sub = "somebody-else"
    assert (await person.log_in())[0] == 403


async def test_a_deleted_user_leaves_nothing_behind(lake: Scene) -> None:
    admin = await lake.person("escape", "escape/admins")
    person, server = await lake.working()
    folder, agent = server.spawner.places.files_dir, server.spawner._agent
    headers = {"X-XSRFToken": admin.browser.xsrf()}
    for path in ("/server", ""):
        url = f"{lake.hub.url}/hub/api/users/{person.name}{path}"
        async with admin.browser.session.delete(url, headers=headers) as answer:
            assert answer.status in (202, 204)
        await until(lambda: not user_of(lake, person).active if person.name in lake.hub.app.users else True)
    lake.iam.counters.clear()
    await asyncio.sleep(0)
    assert not agent.alive
    assert not os.path.exists(folder)
    assert lake.hub.dlaas.refresh.gauges()["users_watched"] == 0
    assert lake.hub.dlaas.keeper.session(person.name) is None
    await lake.pass_time(7200, step=600)
    assert lake.iam.counters.requests["refresh"] == lake.iam.counters.requests["exchange"] == 0


async def test_deleting_a_user_revokes_their_session(lake: Scene) -> None:
    admin, person = await lake.person("escape", "escape/admins"), await lake.person()
    lake.iam.counters.clear()
    url = f"{lake.hub.url}/hub/api/users/{person.name}"
    async with admin.browser.session.delete(url, headers={"X-XSRFToken": admin.browser.xsrf()}) as answer:
        assert answer.status == 204
    await until(lambda: lake.iam.counters.granted["revoke"])

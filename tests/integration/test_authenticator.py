"""Logins, logouts and refreshes through a real hub with its proxy."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.hub import Browser, RunningHub
from support.lake_hub import Lake, lake_config
from support.login import FormBrowser
from support.scene import until
from tornado import web
from traitlets.config import Config

from jupyterhub_dlaas.demo.iam import Settings, StandInIAM
from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.hub.authenticator import IAMAuthenticator
from jupyterhub_dlaas.hub.session import session_of
from jupyterhub_dlaas.oidc.clock import ManualClock


@asynccontextmanager
async def hub(folder: Path, *, iam_settings: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Lake]:
    """`settings` of the IAMAuthenticator; None takes one away that `lake_config` sets."""
    clock = ManualClock(tick=True)
    async with StandInIAM(clock=clock, settings=Settings(key_type="EC", **(iam_settings or {}))) as iam:
        config = lake_config(folder, iam)
        config.DLaaSConfig.clock = clock
        config.DLaaSConfig.contact = "help@example.org"
        # JupyterHub's default: a server that needs no catalogue.
        config.JupyterHub.spawner_class = "simple"
        for name, value in settings.items():
            config.IAMAuthenticator[name] = value
        running = RunningHub(folder, config)
        running.config.IAMAuthenticator.oauth_callback_url = f"{running.url}/hub/oauth_callback"
        async with running:
            yield Lake(running, iam, folder)


async def login(lake: Lake, user: str) -> tuple[int, str]:
    async with Browser(lake.hub) as browser:
        return await browser.login(user)


def look_again(lake: Lake, name: str) -> None:
    """As if `auth_refresh_age` had passed: the next request calls `refresh_user`."""
    lake.hub.user(name)._auth_refreshed = None


def plain(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("&#39;", "'").split())


async def test_a_login_stores_session_tokens_and_groups(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake:
        assert (await login(lake, "alice"))[0] == 200
        user = lake.hub.user("alice")
        session = session_of(await user.get_auth_state())
        assert session is not None
        assert session.refresh_token
        assert set(session.tokens) == {"rucio"}
        assert {group.name for group in user.groups} == {"escape", "escape/cms"}


async def test_exchanges_run_beside_userinfo(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake:
        lake.iam.faults.set("userinfo", delay_seconds=0.3)
        logging_in = asyncio.create_task(login(lake, "alice"))
        while not lake.iam.counters.granted["exchange"]:
            assert not lake.iam.counters.granted["userinfo"]
            await asyncio.sleep(0.002)
        assert not lake.iam.counters.granted["userinfo"]
        assert (await logging_in)[0] == 200


async def test_groups_of_the_wlcg_profile_count(tmp_path: Path) -> None:
    settings = {"allow_all": False, "allowed_groups": {"/escape"}, "admin_groups": {"/escape/cms"}}
    scope = ["openid", "profile", "email", "offline_access", "wlcg.groups"]
    async with hub(tmp_path, iam_settings={"profile": "wlcg"}, scope=scope, **settings) as lake:
        assert (await login(lake, "alice"))[0] == 200
        assert lake.hub.user("alice").admin


async def test_who_is_not_allowed_leaves_no_trace(tmp_path: Path) -> None:
    async with hub(tmp_path, allow_all=False, allowed_groups={"escape"}) as lake:
        assert (await login(lake, "carol"))[0] == 403
        assert lake.hub.dlaas.keeper.session("carol") is None


async def test_a_user_in_no_vo_may_log_in_and_is_offered_nothing(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake:
        assert (await login(lake, "carol"))[0] == 200
        user = lake.hub.user("carol")
        assert lake.hub.dlaas.offers(user) == ()
        assert not lake.hub.dlaas.keeper.session("carol").tokens


async def test_a_required_audience_that_is_refused_stops_the_login_with_a_page(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake:
        lake.iam.faults.refuse("rucio")
        status, text = await login(lake, "alice")
        assert status in (403, 500)
        page = plain(text)
        assert "Without it you cannot work with escape" in page
        assert "help@example.org" in page
        assert lake.hub.dlaas.keeper.session("alice") is None


async def test_an_optional_audience_that_is_refused_does_not(tmp_path: Path) -> None:
    async with hub(tmp_path, audiences={"rucio": {}, "eos": {}}) as lake:
        lake.iam.faults.refuse("eos")
        assert (await login(lake, "alice"))[0] == 200
        states = lake.hub.dlaas.keeper.peek("alice", ["rucio", "eos"])
        assert states["rucio"].token
        assert states["eos"].problem is not None


async def test_the_nonce_of_another_login_is_refused(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake, Browser(lake.hub) as browser:
        async with browser.session.get(f"{lake.hub.url}/hub/oauth_login", allow_redirects=False) as answer:
            where = answer.headers["Location"]
        where = re.sub(r"nonce=[^&]+", "nonce=anothers", where)
        callback = await FormBrowser(lake.iam.issuer_url).login(where, "alice", "alice-pw")
        status, text = await browser.get(callback)
        assert status == 400
        assert "does not belong to the page" in plain(text)


async def test_two_people_never_become_one_user(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake:
        assert (await login(lake, "alice"))[0] == 200
        await lake.hub.restart()
        lake.iam.users["alice"].sub = "somebody-else"
        status, text = await login(lake, "alice")
        assert status == 403
        assert "belongs to another account" in plain(text)


async def test_the_hub_starts_while_iam_is_down_and_says_so(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake, Browser(lake.hub) as browser:
        await lake.iam.stop()
        await lake.hub.restart()
        _, text = await browser.get("/hub/login")
        assert "does not answer at the moment" in plain(text)
        status, text = await browser.get("/hub/oauth_login")
        assert status == 503
        await lake.iam.start()
        lake.iam.clock.advance(120)
        assert (await login(lake, "alice"))[0] == 200


async def test_an_outage_logs_nobody_out(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake, lake.browser("alice") as browser:
        lake.iam.faults.set("*", status=503)
        lake.iam.clock.advance(4000)
        for _ in range(3):
            look_again(lake, "alice")
            status, text = await browser.get("/hub/api/user")
            assert status == 200, text


async def test_a_dead_session_sends_the_browser_to_the_login_and_lets_tokens_pass(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake, lake.browser("alice") as browser:
        token = lake.hub.api_token("alice")
        lake.iam.end_sessions("alice")
        await lake.hub.dlaas.keeper.renew(lake.hub.user("alice"), force=True)
        look_again(lake, "alice")
        async with browser.session.get(f"{lake.hub.url}/hub/home", allow_redirects=False) as answer:
            assert answer.status == 302
            assert "/hub/login" in answer.headers["Location"]
        assert (await lake.call("/hub/api/user", token))[0] == 200


async def test_fifty_pages_at_expiry_make_one_grant_and_log_nobody_out(tmp_path: Path) -> None:
    settings = {"refuse_reuse": True, "token_seconds": 600}
    async with hub(tmp_path, iam_settings=settings) as lake, lake.browser("alice") as browser:
        lake.iam.counters.clear()
        lake.iam.clock.advance(601)
        look_again(lake, "alice")
        answers = await asyncio.gather(*(browser.get("/hub/api/user") for _ in range(50)))
        assert {status for status, _ in answers} == {200}
        assert lake.iam.counters.granted["refresh"] == 1


async def test_a_token_s_request_starts_the_renewal_and_does_not_wait_for_it(tmp_path: Path) -> None:
    async with hub(tmp_path, iam_settings={"token_seconds": 600}) as lake, lake.browser("alice"):
        token = lake.hub.api_token("alice")
        lake.iam.faults.set("refresh", delay_seconds=1)
        lake.iam.counters.clear()
        lake.iam.clock.advance(601)
        look_again(lake, "alice")
        assert (await lake.call("/hub/api/user", token))[0] == 200
        assert not lake.iam.counters.granted["refresh"]
        await until(lambda: lake.iam.counters.granted["refresh"] == 1)


async def test_a_logout_without_servers_revokes_and_forgets(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake, lake.browser("alice") as browser:
        await browser.get("/hub/logout")
        await lake.hub.dlaas.keeper.close()
        assert lake.hub.dlaas.keeper.session("alice") is None
        assert lake.iam.counters.requests["revoke"]


async def test_a_logout_with_a_server_leaves_it_its_tokens(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake, lake.browser("alice") as browser:
        assert (await browser.spawn("alice"))[0] == 201
        await browser.get("/hub/logout")
        assert lake.hub.dlaas.keeper.peek("alice", ["rucio"])["rucio"].token
        assert lake.hub.dlaas.refresh.gauges()["users_watched"] == 1


async def test_a_deleted_user_is_forgotten_and_revoked(tmp_path: Path) -> None:
    async with hub(tmp_path, admin_users={"bob"}) as lake:
        await login(lake, "alice")
        async with lake.browser("bob") as browser:
            address = f"{lake.hub.url}/hub/api/users/alice"
            headers = {"X-XSRFToken": browser.xsrf(), "Referer": f"{lake.hub.url}/hub/admin"}
            async with browser.session.delete(address, headers=headers) as answer:
                assert answer.status == 204
        await lake.hub.dlaas.keeper.close()
        assert lake.hub.dlaas.keeper.session("alice") is None
        assert lake.iam.counters.requests["revoke"]


async def test_who_lost_the_right_starts_no_server(tmp_path: Path) -> None:
    async with hub(tmp_path, allow_all=False, allowed_groups={"escape"}) as lake, lake.browser("alice") as browser:
        lake.iam.users["alice"].groups = []
        lake.iam.clock.advance(3000)
        with pytest.raises(web.HTTPError, match=r"403.*no longer lists you"):
            await browser.spawn("alice")
        assert not lake.hub.user("alice").spawner.active


async def test_a_lost_right_stops_servers_where_that_is_set(tmp_path: Path) -> None:
    async with hub(tmp_path, allow_all=False, allowed_groups={"escape"}) as lake, lake.browser("alice") as browser:
        lake.hub.dlaas.config.lost_entitlement = "stop"
        assert (await browser.spawn("alice"))[0] == 201
        lake.iam.users["alice"].groups = []
        await lake.hub.dlaas.keeper.renew(lake.hub.user("alice"), force=True)
        for _ in range(300):
            if not lake.hub.user("alice").spawner.ready:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the server still runs")


async def test_running_servers_are_watched_again_after_a_hub_restart(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake, lake.browser("alice") as browser:
        assert (await browser.spawn("alice"))[0] == 201
        await lake.hub.restart()
        for _ in range(200):
            if lake.hub.dlaas.refresh.gauges()["users_watched"]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nobody is watched")


async def test_no_token_is_in_the_log(tmp_path: Path) -> None:
    async with hub(tmp_path) as lake:
        await login(lake, "alice")
        user = lake.hub.user("alice")
        known = session_of(await user.get_auth_state())
        lake.iam.end_sessions("alice")
        await lake.hub.dlaas.keeper.renew(user, force=True)
        log = (tmp_path / "hub.log").read_text()
        assert "class=dead_session" in log
        assert known is not None
        assert known.access is not None
        assert known.refresh_token is not None
        for secret in (known.access.token, known.refresh_token, known.tokens["rucio"].token):
            assert secret.reveal()[:40] not in log


@pytest.mark.parametrize("name", ["issuer_url", "client_id", "client_secret"])
def test_a_missing_setting_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OAUTH_CLIENT_SECRET", raising=False)
    settings = {"issuer_url": "https://iam.example.org/", "client_id": "hub", "client_secret": "s", name: ""}
    with pytest.raises(ConfigError, match=name.replace("_", ".")):
        IAMAuthenticator(config=Config(IAMAuthenticator=settings))

"""`lost_entitlement = "stop"`: who loses the VO loses the running server, too."""

from __future__ import annotations

import pytest
from support.scene import Scene, until
from traitlets.config import Config

pytestmark = pytest.mark.asyncio(loop_scope="module")


def configure(c: Config) -> None:
    c.DLaaSConfig.lost_entitlement = "stop"
    c.IAMAuthenticator.allow_all = False
    c.IAMAuthenticator.allowed_groups = {"/escape", "ska"}


async def test_the_server_is_stopped_when_the_vo_is_lost(lake: Scene) -> None:
    person, _server = await lake.working("escape", "ska")
    person.account.groups = ["ska"]
    lake.clock.advance(1000)
    await until(lambda: not lake.hub.user(person.name).spawners[""].active)
    assert lake.hub.dlaas.refresh.gauges()["users_watched"] == 0


async def test_servers_of_a_vo_that_is_not_lost_go_on(lake: Scene) -> None:
    person, _ = await lake.working("escape", "ska")
    other = await person.start("other", environment="ska/astro")
    person.account.groups = ["ska"]
    lake.clock.advance(1000)
    await until(lambda: not lake.hub.user(person.name).spawners[""].active)
    assert other.spawner.ready
    await until(other.has_token)


async def test_all_servers_stop_of_who_may_no_longer_log_in(lake: Scene) -> None:
    person, _ = await lake.working()
    await person.start("plain", environment="escape/plain")
    person.account.groups = []
    lake.clock.advance(1000)
    await until(lambda: not any(spawner.active for spawner in lake.hub.user(person.name).spawners.values()))


async def test_an_environment_that_left_its_catalogue_is_no_right_that_was_lost(lake: Scene) -> None:
    person, server = await lake.working("escape", "ska")
    file = lake.folder / "catalogue.d/escape.yaml"
    whole = file.read_text()
    try:
        file.write_text(whole.replace("- name: root", "- name: newer"))
        lake.hub.dlaas.catalogues.reload()
        person.account.groups = ["escape"]
        lake.clock.advance(1000)
        await until(lambda: [group.name for group in lake.hub.user(person.name).groups] == ["escape"])
        await until(lake.idle)
        assert server.spawner.ready
    finally:
        file.write_text(whole)
        lake.hub.dlaas.catalogues.reload()


async def test_an_outage_stops_no_server(lake: Scene) -> None:
    person, server = await lake.working()
    lake.iam.faults.set("*", status=503)
    await lake.pass_time(7200, step=600)
    assert person.trouble() == "outage"
    assert server.spawner.ready


async def test_a_disabled_account_stops_no_server(lake: Scene) -> None:
    # It may be enabled again in a minute; only a group or the right to log in counts as lost.
    person, server = await lake.working()
    person.account.active = False
    lake.clock.advance(1000)
    await until(lambda: person.trouble() == "account_disabled")
    await until(lake.idle)
    assert server.spawner.ready


async def test_who_is_in_no_allowed_group_does_not_get_in(lake: Scene) -> None:
    status, _ = await (await lake.newcomer("cta")).log_in()
    assert status == 403


async def test_who_may_no_longer_log_in_starts_nothing(lake: Scene) -> None:
    person = await lake.person()
    person.account.groups = []
    lake.clock.advance(1000)
    status, text = await person.ask(environment="escape/root")
    assert (status, "no longer lists you" in text) == (403, True), text

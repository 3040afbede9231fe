"""Tokens stay good for as long as a server runs, without a click and without a request."""

from __future__ import annotations

import asyncio

import pytest
from support.scene import Scene, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_files_are_never_expired_over_three_lifetimes(lake: Scene) -> None:
    lake.iam.settings.token_seconds = 1200
    person, server = await lake.working()
    first = person.held("rucio")
    await person.browser.session.close()
    person.browser = type(person.browser)(lake.hub)  # no cookie: nobody is there
    for _ in range(18):
        lake.clock.advance(200)
        assert (await server.seconds_left("rucio") or 0) > 0
        assert (await server.seconds_left("eos-eulake") or 0) > 0
        await until(lake.idle)
        await until(server.has_what_the_hub_has)
        await until(lambda: server.has_what_the_hub_has("eos-eulake"))
    assert person.held("rucio") != first


async def test_a_token_is_renewed_well_ahead_of_its_end(lake: Scene) -> None:
    person, _ = await lake.working()
    before = person.held("rucio")
    await lake.pass_time(2940)
    assert person.held("rucio") != before


async def test_named_servers_are_kept_alive_too(lake: Scene) -> None:
    person, _ = await lake.working()
    named = await person.start("second")
    before = await named.text("tokens/rucio")
    await lake.pass_time(3660)
    await until(lambda: named.has_token(other_than=before))


async def test_servers_of_one_user_share_one_renewal(lake: Scene) -> None:
    person, _ = await lake.working()
    await person.start("second")
    lake.iam.counters.clear()
    before = person.held("rucio")
    await lake.pass_time(600)
    await until(lambda: person.held("rucio") == before)
    await lake.pass_time(300)
    assert lake.iam.counters.requests["refresh"] == 1


async def test_the_account_is_checked_every_quarter_of_an_hour_while_a_server_runs(lake: Scene) -> None:
    await lake.working()
    lake.iam.counters.clear()
    await lake.pass_time(3600)
    assert 4 <= lake.iam.counters.requests["refresh"] <= 5


async def test_a_hub_restart_does_not_end_renewal(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    await lake.hub.restart()
    await until(lambda: lake.hub.dlaas.refresh.gauges()["users_watched"] == 1)
    await lake.pass_time(3660)
    await until(lambda: server.has_token(other_than=before))
    assert person.logged_in


async def test_after_a_restart_an_expired_token_is_replaced_without_a_request(lake: Scene) -> None:
    _, server = await lake.working()
    await lake.hub.stop()
    lake.clock.advance(4000)
    await lake.hub.start()
    await until(server.has_token)


async def test_renewals_after_a_restart_are_spread_over_time(lake: Scene) -> None:
    lake.iam.settings.token_seconds = 1200
    people = [(await lake.working(environment="escape/root"))[0] for _ in range(4)]
    await lake.hub.stop()
    lake.clock.advance(1000)  # all are due, none has expired
    await lake.hub.start()
    refresh = lake.hub.dlaas.refresh
    await until(lambda: refresh.gauges()["users_watched"] == len(people))
    await until(lake.idle)
    dues = set(refresh._due.values())
    assert len(dues) == len(people)
    assert max(dues) - min(dues) > 5
    await lake.pass_time(120, step=10)
    assert all(lake.hub.dlaas.keeper.next_due(person.name) > lake.clock.now() for person in people)


async def test_fifty_requests_at_the_moment_of_expiry_make_one_refresh(lake: Scene) -> None:
    lake.iam.settings.refuse_reuse = True  # a second one with the same token would end the session
    person, server = await lake.working()
    lake.clock.advance(3700)
    lake.iam.counters.clear()
    token = lake.hub.user(person.name).new_api_token()
    answers = await asyncio.gather(
        *(person.home() for _ in range(25)),
        *(lake.call("/hub/api/user", token) for _ in range(15)),
        *(lake.call("/hub/dlaas/bundle", server.agent_token) for _ in range(10)),
    )
    await until(lake.idle)
    assert lake.iam.counters.requests["refresh"] == 1
    assert {status for status, _ in answers} == {200}
    assert person.logged_in
    assert {where for status, where in answers[:25]} == {"home"}


async def test_the_last_servers_end_is_the_end_of_renewal(lake: Scene) -> None:
    person, _ = await lake.working()
    await person.start("second")
    for name, watched in (("", 1), ("second", 0)):
        path = f"/hub/api/users/{person.name}/servers/{name}" if name else f"/hub/api/users/{person.name}/server"
        async with person.browser.session.delete(
            lake.hub.url + path, headers={"X-XSRFToken": person.browser.xsrf()}
        ) as answer:
            assert answer.status in (202, 204)
        spawner = lake.hub.user(person.name).spawners[name]
        await until(lambda spawner=spawner: not spawner.active)
        assert lake.hub.dlaas.refresh.gauges()["users_watched"] == watched
    lake.iam.counters.clear()
    await lake.pass_time(7200, step=600)
    assert not lake.iam.counters.requests


async def test_a_server_that_crashes_is_not_renewed_for(lake: Scene) -> None:
    person, server = await lake.working()
    import os
    import signal

    os.kill(server.spawner.pid, signal.SIGKILL)
    await until(lambda: not lake.hub.user(person.name).spawners[""].active)
    lake.iam.counters.clear()
    await lake.pass_time(7200, step=600)
    assert not lake.iam.counters.requests

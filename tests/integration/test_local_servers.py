"""Servers on one machine: what a start needs, what survives, what is left at the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import orm
from support.lake_hub import Lake, lake


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Lake]:
    async with lake(tmp_path) as started:
        yield started


def spawner_of(lake: Lake, user: str = "alice", server: str = "") -> Any:
    return lake.hub.user(user).spawners[server]


def folders(lake: Lake) -> list[str]:
    base = lake.folder / "run"
    return sorted(os.listdir(base)) if base.exists() else []


def agent_rows(lake: Lake) -> list[Any]:
    assert lake.hub.app is not None
    rows = lake.hub.app.db.query(orm.APIToken)
    return [row for row in rows if row.note and row.note.endswith("(data lake agent)")]


async def until(true: Any) -> None:
    for _ in range(100):
        if true():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come about")


# ---- choosing


async def test_forged_options_start_nothing_and_are_not_remembered(running: Lake) -> None:
    async with running.browser("alice") as browser:
        status, text = await refused(running, browser, {"environment": "ska/other"})
        assert (status, "escape/root, escape/plain" in text) == (400, True)
        status, text = await refused(running, browser, {"image": "evil/x:1"})
        assert (status, "'image'" in text) == (400, True)
    await running.start("alice")  # would fail with the forged ones
    assert agent_rows(running)


async def test_the_last_choice_is_remembered_where_no_options_are_given(running: Lake) -> None:
    spawner = await running.start("alice", environment="escape/plain")
    assert spawner.choice.offer.id == "escape/plain"
    await running.hub.user("alice").stop("")
    async with running.browser("alice") as browser:
        await browser.spawn("alice", options={})
    assert spawner_of(running).choice.offer.id == "escape/plain"


async def test_the_form_goes_through_the_same_gate(running: Lake) -> None:
    async with running.browser("alice") as browser:
        status, page = await browser.get("/hub/spawn")
        assert (status, 'value="escape/root"' in page) == (200, True)
        where = f"/hub/spawn?_xsrf={browser.xsrf()}"
        status, page = await browser.post(where, {"environment": "ska/other"})
        assert (status, "environment cannot be" in page) == (400, True)
        status, _ = await browser.post(where, {"environment": "escape/plain"})
    await until(lambda: spawner_of(running).ready)
    assert spawner_of(running).choice.offer.id == "escape/plain"


async def test_a_user_in_no_vo_starts_nothing_by_form_or_rest(running: Lake) -> None:
    async with running.browser("carol") as browser:
        status, text = await refused(running, browser, {}, user="carol")
        assert (status, "no environment is offered" in text) == (403, True)
        status, page = await browser.post(f"/hub/spawn?_xsrf={browser.xsrf()}", {"environment": "escape/root"})
        assert (status, "no environment is offered" in page) == (403, True)
    assert folders(running) == []


async def refused(lake: Lake, browser: Any, options: dict[str, str], user: str = "alice") -> tuple[int, str]:
    """What the REST API says when it waits for the start, as it does with JupyterHub's default settings."""
    assert lake.hub.app is not None
    lake.hub.app.tornado_settings["slow_spawn_timeout"] = lake.hub.app.tornado_application.settings[
        "slow_spawn_timeout"
    ] = 10
    try:
        answer: tuple[int, str] = await browser.post(
            f"/hub/api/users/{user}/server", json=options, headers={"Referer": f"{lake.hub.url}/hub/home"}
        )
    finally:
        lake.hub.app.tornado_application.settings["slow_spawn_timeout"] = 0
    return answer


# ---- starting


async def test_a_start_tells_its_steps(running: Lake) -> None:
    spawner = await running.start("alice")
    steps = [event["message"] for event in spawner.steps.events]
    assert steps[0] == "Preparing ROOT"
    assert steps[1].startswith("Access to rucio until ")
    assert any(step.startswith("scratch is mounted at ") for step in steps)


async def test_without_a_required_audience_there_is_no_server_and_a_reason(running: Lake) -> None:
    async with running.browser("alice") as browser:
        running.iam.faults.refuse("rucio")
        running.iam.clock.advance(7200)
        status, text = await refused(running, browser, {"environment": "escape/root"})
    assert (status, "rucio" in json.loads(text)["message"]) == (403, True)
    assert (folders(running), agent_rows(running)) == ([], [])


async def test_at_the_end_no_process_folder_or_token_is_left(running: Lake) -> None:
    spawner = await running.start("alice")
    agent, home = spawner._agent, running.folder / "homes/alice"
    await running.hub.user("alice").stop("")
    assert not agent.alive
    assert (folders(running), agent_rows(running)) == ([], [])
    assert home.is_dir()


async def test_a_server_that_dies_by_itself_leaves_nothing_either(running: Lake) -> None:
    spawner = await running.start("alice")
    agent = spawner._agent
    os.kill(spawner.pid, signal.SIGKILL)
    await until(lambda: not folders(running))
    assert not agent.alive
    assert agent_rows(running) == []


# ---- while it runs


async def test_an_agent_that_is_killed_is_replaced_and_the_files_stay(running: Lake) -> None:
    spawner = await running.start("alice")
    before, token = spawner._agent, Path(spawner.places.token("rucio"))
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: spawner._agent != before and spawner._agent.alive)
    assert token.exists()
    assert len(agent_rows(running)) == 1


async def test_a_restarted_hub_keeps_the_agent_and_its_token(running: Lake) -> None:
    spawner = await running.start("alice")
    agent, credential = spawner._agent, spawner._credential.reveal()
    await running.hub.restart()
    again = spawner_of(running)
    assert again is not spawner
    assert (again._agent, again._agent.alive, again.ready) == (agent, True, True)
    assert (await running.call("/hub/dlaas/bundle", credential))[0] == 200


async def test_after_a_hub_restart_a_dead_agent_gets_a_successor_with_a_token_of_its_own(running: Lake) -> None:
    spawner = await running.start("alice")
    credential = spawner._credential.reveal()
    await running.hub.restart()
    again = spawner_of(running)
    before = again._agent
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: again._agent != before and again._agent.alive)
    assert (await running.call("/hub/dlaas/bundle", credential))[0] == 403
    assert len(agent_rows(running)) == 1


async def test_a_restarted_hub_can_stop_the_server_for_good(running: Lake) -> None:
    await running.start("alice")
    await running.hub.restart()
    agent = spawner_of(running)._agent
    await running.hub.user("alice").stop("")
    assert not agent.alive
    assert (folders(running), agent_rows(running)) == ([], [])


async def test_two_servers_of_a_user_have_folders_and_agents_of_their_own(running: Lake) -> None:
    one, two = await running.start("alice"), await running.start("alice", "two")
    assert one.places != two.places
    assert one._agent != two._agent
    await running.hub.user("alice").stop("two")
    assert Path(one.places.token("rucio")).exists()
    assert one._agent.alive


# ---- settings


async def test_a_hub_that_knows_nothing_yet_reads_the_session_when_an_agent_asks(running: Lake) -> None:
    spawner = await running.start("alice")
    running.hub.dlaas.keeper._entries.clear()  # as in the first moments of a hub
    status, _, text = await running.call("/hub/dlaas/bundle", spawner._credential.reveal())
    assert (status, "tokens/rucio" in text) == (200, True)


async def test_an_outage_of_iam_does_not_keep_files_from_a_running_server(running: Lake) -> None:
    spawner = await running.start("alice")
    running.iam.faults.set("*", status=503)
    status, _, text = await running.call("/hub/dlaas/bundle", spawner._credential.reveal())
    assert (status, "tokens/rucio" in text) == (200, True)


async def test_no_token_is_in_a_log_an_environment_or_an_argument(running: Lake) -> None:
    spawner = await running.start("alice")
    secrets = [spawner._credential.reveal().encode(), Path(spawner.places.token("rucio")).read_bytes()]
    places = [
        Path(f"/proc/{pid}/{name}") for pid in (spawner._agent.pid, spawner.pid) for name in ("cmdline", "environ")
    ]
    seen = b"".join(place.read_bytes() for place in [*places, running.hub.log_file])
    assert spawner.api_token.encode() in seen  # JupyterHub's own is where it puts it, so this looks in the right place
    assert not [secret for secret in secrets if secret in seen]


async def test_a_start_that_takes_too_long_leaves_nothing(running: Lake) -> None:
    running.hub.app.config.LocalDLaaSSpawner.start_timeout = 1  # type: ignore[union-attr]
    running.hub.app.config.LocalDLaaSSpawner.cmd = ["/bin/sleep", "60"]  # type: ignore[union-attr]
    running.hub.app.config.LocalDLaaSSpawner.http_timeout = 1  # type: ignore[union-attr]
    async with running.browser("alice") as browser:
        status, _ = await refused(running, browser, {})
    assert status == 500
    assert (folders(running), agent_rows(running)) == ([], [])

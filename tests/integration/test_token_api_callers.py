"""Who may not ask the token API: everybody but the agent of a server that runs now."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jupyterhub import orm
from support.lake_hub import Lake, lake

from jupyterhub_dlaas.hub.agents import AGENT_SCOPE

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE_TOKEN = "a-service-token-of-many-characters"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_lake(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lake]:
    """Alice runs her default server and one named `two` (no data); Bob, an administrator, runs one."""
    folder: Path = tmp_path_factory.mktemp("callers")

    def more(c: Any) -> None:
        c.Authenticator.admin_users = {"bob"}
        c.JupyterHub.services = [{"name": "robot", "api_token": SERVICE_TOKEN}]
        roles = list(c.JupyterHub.load_roles) if "load_roles" in c.JupyterHub else []
        robot = {"name": "robot", "services": ["robot"], "scopes": ["admin:users", "admin:servers", "tokens"]}
        c.JupyterHub.load_roles = [*roles, robot]

    vos = {"escape": {"groups": {"escape", "ska"}, "trusted": True}}
    async with lake(folder, more, vos=vos) as running:
        await running.start("alice")
        await running.start("alice", "two", "escape/plain")
        await running.start("bob")
        yield running


def agent_token(lake: Lake, user: str, server: str = "") -> str:
    token: str = lake.hub.user(user).spawners[server]._credential.reveal()
    return token


async def files(lake: Lake, token: str) -> dict[str, bytes]:
    status, _, text = await lake.call("/hub/dlaas/bundle", token)
    assert status == 200, text
    return {file["path"]: base64.b64decode(file["content"]) for file in json.loads(text)["files"]}


async def nobody(lake: Lake) -> None:
    return None


async def garbage(lake: Lake) -> str:
    return "garbage"


async def own_token_with_every_scope(lake: Lake) -> str:
    return lake.hub.api_token("alice", scopes=["inherit"])


async def own_token_with_the_agents_scope(lake: Lake) -> str:
    return lake.hub.api_token("alice", scopes=[f"{AGENT_SCOPE}!server=alice/"])


async def token_by_an_administrator(lake: Lake) -> str:
    admin = lake.hub.api_token("bob", scopes=["inherit"])
    asked = {"scopes": [f"{AGENT_SCOPE}!server=alice/"], "note": "by the administrator"}
    status, _, text = await lake.call("/hub/api/users/alice/tokens", admin, method="POST", json=asked)
    assert status == 201, text
    return str(json.loads(text)["token"])


async def administrators_own_token(lake: Lake) -> str:
    return lake.hub.api_token("bob", scopes=["inherit"])


async def token_of_a_service(lake: Lake) -> str:
    return SERVICE_TOKEN


async def the_servers_own_api_token(lake: Lake) -> str:
    return str(lake.hub.user("alice").spawners[""].api_token)


async def agent_before_the_last_restart(lake: Lake) -> str:
    before = (await lake.start("alice", "again"))._credential.reveal()
    await lake.hub.user("alice").stop("again")
    await lake.start("alice", "again")
    return str(before)


async def agent_of_a_stopped_server(lake: Lake) -> str:
    token = (await lake.start("alice", "short"))._credential.reveal()
    await lake.hub.user("alice").stop("short")
    return str(token)


async def expired(lake: Lake) -> str:
    spawner = await lake.start("alice", "old")
    db = lake.hub.app.db
    row = db.get(orm.APIToken, lake.hub.dlaas.agents.token_id(spawner))
    row.expires_at = datetime.datetime(2020, 1, 1)
    db.commit()
    return str(spawner._credential.reveal())


async def a_note_that_imitates_an_agents(lake: Lake) -> str:
    db, spawner = lake.hub.app.db, lake.hub.user("alice").spawners[""]
    note = db.get(orm.APIToken, lake.hub.dlaas.agents.token_id(spawner)).note
    assert note.startswith("Server at ")
    return lake.hub.api_token("alice", note=note, scopes=[f"{AGENT_SCOPE}!server=alice/"])


async def own_token_in_the_row_of_the_agents(lake: Lake) -> str:
    """SQLite gives a deleted row's id to the next one."""
    spawner = await lake.start("alice", "replaced")
    db, pinned = lake.hub.app.db, lake.hub.dlaas.agents.token_id(spawner)
    db.delete(db.get(orm.APIToken, pinned))
    db.commit()
    token = lake.hub.api_token("alice", scopes=["inherit"])
    assert orm.APIToken.find(db, token).id == pinned
    return token


CALLERS = [
    nobody,
    garbage,
    own_token_with_every_scope,
    own_token_with_the_agents_scope,
    token_by_an_administrator,
    administrators_own_token,
    token_of_a_service,
    the_servers_own_api_token,
    agent_before_the_last_restart,
    agent_of_a_stopped_server,
    expired,
    a_note_that_imitates_an_agents,
    own_token_in_the_row_of_the_agents,
]


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.__name__)
async def test_refused(shared_lake: Lake, caller: Callable[[Lake], Awaitable[str | None]]) -> None:
    token = await caller(shared_lake)
    status, headers, text = await shared_lake.call("/hub/dlaas/bundle", token)
    assert (status, headers["cache-control"]) == (403, "no-store")
    assert "files" not in text
    status, _, _ = await shared_lake.call("/hub/dlaas/report", token, method="POST", json={"version": 1})
    assert status == 403


async def test_a_browsers_cookie_is_refused(shared_lake: Lake) -> None:
    async with shared_lake.browser("alice") as browser:
        assert (await browser.get(f"/hub/dlaas/bundle?_xsrf={browser.xsrf()}"))[0] == 403
        assert (await browser.post("/hub/dlaas/report", json={"version": 1}))[0] == 403


async def test_a_token_in_the_address_is_refused(shared_lake: Lake) -> None:
    token = agent_token(shared_lake, "alice")
    assert (await shared_lake.call(f"/hub/dlaas/bundle?token={token}"))[0] == 403


async def test_the_agent_of_another_server_gets_nothing_of_this_one(shared_lake: Lake) -> None:
    assert "tokens/rucio" in await files(shared_lake, agent_token(shared_lake, "alice"))
    assert "tokens/rucio" not in await files(shared_lake, agent_token(shared_lake, "alice", "two"))


async def test_the_agent_of_another_user_gets_that_users_own_token(shared_lake: Lake) -> None:
    alices = await files(shared_lake, agent_token(shared_lake, "alice"))
    bobs = await files(shared_lake, agent_token(shared_lake, "bob"))
    assert alices["tokens/rucio"] != bobs["tokens/rucio"]


async def test_an_agents_token_opens_nothing_else(shared_lake: Lake) -> None:
    token = agent_token(shared_lake, "alice")
    assert (await shared_lake.call("/hub/api/users/alice/tokens", token))[0] in (403, 404)
    assert (await shared_lake.call("/hub/api/users/alice/servers/x", token, method="POST"))[0] in (403, 404)
    assert (await shared_lake.call("/hub/dlaas/renew", token, method="POST"))[0] == 403

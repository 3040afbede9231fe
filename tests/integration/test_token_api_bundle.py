"""What the agent of a running server gets, and what it tells."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jupyterhub import orm
from support.lake_hub import Lake, lake

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_lake(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lake]:
    folder: Path = tmp_path_factory.mktemp("bundle")
    async with lake(folder, vos={"escape": {"groups": {"escape", "ska"}, "trusted": True}}) as running:
        await running.start("alice")
        yield running


def agent_token(lake: Lake, user: str = "alice") -> str:
    return str(lake.hub.user(user).spawners[""]._credential.reveal())


async def bundle(lake: Lake, token: str | None = None) -> tuple[dict[str, bytes], dict[str, str]]:
    status, headers, text = await lake.call("/hub/dlaas/bundle", token or agent_token(lake))
    assert status == 200, text
    return {file["path"]: base64.b64decode(file["content"]) for file in json.loads(text)["files"]}, headers


async def test_a_running_server_has_its_files(shared_lake: Lake) -> None:
    files, headers = await bundle(shared_lake)
    written = Path(shared_lake.hub.user("alice").spawners[""].places.files_dir)
    assert (written / "tokens/rucio").read_bytes() == files["tokens/rucio"]
    assert headers["cache-control"] == "no-store"
    assert 1 <= float(headers["dlaas-ask-again"]) <= 45


async def test_the_server_finds_them_by_its_environment(shared_lake: Lake) -> None:
    async with shared_lake.browser("alice") as browser:
        _, text = await browser.get("/user/alice/environ")
    environ = json.loads(text)
    assert environ["DLAAS_DIR"] == shared_lake.hub.user("alice").spawners[""].places.files_dir
    assert environ["RUCIO_HOME"] == f"{environ['DLAAS_DIR']}/rucio"


async def test_what_has_not_changed_is_not_sent_again(shared_lake: Lake) -> None:
    _, headers = await bundle(shared_lake)
    status, again, text = await shared_lake.call(
        "/hub/dlaas/bundle", agent_token(shared_lake), headers={"If-None-Match": headers["etag"]}
    )
    assert (status, text) == (304, "")
    assert float(again["dlaas-ask-again"]) <= 45


async def test_asking_is_nobodys_activity(shared_lake: Lake) -> None:
    db, user = shared_lake.hub.app.db, shared_lake.hub.user("alice")
    row = db.get(orm.APIToken, shared_lake.hub.dlaas.agents.token_id(user.spawners[""]))
    user.orm_user.last_activity = row.last_activity = None
    db.commit()
    await bundle(shared_lake)
    assert (user.orm_user.last_activity, row.last_activity) == (None, None)


async def test_a_report_becomes_part_of_the_status(shared_lake: Lake) -> None:
    mounts = [{"name": "scratch", "path": "/x", "alive": False, "problem": "no answer"}]
    report = {"version": 1, "files": 3, "mounts": mounts, "problems": ["disk <b>full</b>"]}
    status, _, _ = await shared_lake.call("/hub/dlaas/report", agent_token(shared_lake), method="POST", json=report)
    assert status == 204
    async with shared_lake.browser("alice") as browser:
        _, text = await browser.get("/hub/dlaas/status", headers={"Accept": "application/json"})
        _, page = await browser.get("/hub/dlaas/status")
    [server] = json.loads(text)["servers"]
    assert (server["mounts"][0]["problem"], server["problems"]) == ("no answer", ["disk <b>full</b>"])
    assert "disk &lt;b&gt;full" in page


async def test_metrics_count_mounts_by_their_names_in_the_catalogue(shared_lake: Lake) -> None:
    told = [{"name": name, "path": "/x", "alive": False, "problem": "no answer"} for name in ("scratch", "made-up")]
    report = {"version": 1, "files": 3, "mounts": told, "problems": []}
    await shared_lake.call("/hub/dlaas/report", agent_token(shared_lake), method="POST", data=json.dumps(report))
    assert shared_lake.hub.dlaas._gauges()["mounts"] == {("scratch", "dead"): 1.0}


@pytest.mark.parametrize("body", ["no json", "[]", "{}", '{"version": 2}', '{"version": 1, "mounts": [{"name": 1}]}'])
async def test_what_is_no_report_is_refused_with_the_field(shared_lake: Lake, body: str) -> None:
    status, _, text = await shared_lake.call("/hub/dlaas/report", agent_token(shared_lake), method="POST", data=body)
    assert (status, "Not a report" in text) == (400, True)


async def test_an_agent_that_asks_without_end_is_told_when_to_come_back(shared_lake: Lake) -> None:
    limit = shared_lake.hub.dlaas.agents.get(shared_lake.hub.user("alice").spawners[""]).bundle_limit
    limit.burst, burst = 0.0, limit.burst
    try:
        status, headers, _ = await shared_lake.call("/hub/dlaas/bundle", agent_token(shared_lake))
    finally:
        limit.burst = limit._level = burst
    assert (status, headers["retry-after"]) == (429, "1")


async def test_a_shared_server_gets_no_token_until_it_is_shared_no_more(shared_lake: Lake) -> None:
    await shared_lake.start("bob")
    app, token = shared_lake.hub.app, agent_token(shared_lake, "bob")
    server = shared_lake.hub.user("bob").spawners[""].orm_spawner
    orm.Share.grant(app.db, server, orm.User.find(app.db, "alice"))
    files, _ = await bundle(shared_lake, token)
    assert "tokens/rucio" not in files
    assert "share" in files["status.json"].decode()
    orm.Share.revoke(app.db, server, orm.User.find(app.db, "alice"))
    assert "tokens/rucio" in (await bundle(shared_lake, token))[0]


async def test_an_administrator_may_allow_tokens_in_shared_servers(shared_lake: Lake) -> None:
    app, config = shared_lake.hub.app, shared_lake.hub.dlaas.config
    server = shared_lake.hub.user("alice").spawners[""].orm_spawner
    orm.Share.grant(app.db, server, orm.User.find(app.db, "bob"))
    config.shared_servers = "allow"
    try:
        assert "tokens/rucio" in (await bundle(shared_lake))[0]
    finally:
        config.shared_servers = "withhold"
        orm.Share.revoke(app.db, server, orm.User.find(app.db, "bob"))


async def test_another_auth_type_is_in_the_next_bundle(shared_lake: Lake) -> None:
    async with shared_lake.browser("alice") as browser:
        status, text = await browser.post(
            "/hub/dlaas/servers/auth-type", json={"auth_type": "x509_proxy"}, headers={"Accept": "application/json"}
        )
        assert (status, json.loads(text)["auth_type"]) == (200, "x509_proxy"), text
        assert b"x509_proxy" in (await bundle(shared_lake))[0]["rucio/etc/rucio.cfg"]
        await browser.post("/hub/dlaas/servers//auth-type", data={"auth_type": "oidc"})
        assert b"x509_proxy" not in (await bundle(shared_lake))[0]["rucio/etc/rucio.cfg"]


async def test_an_auth_type_that_the_environment_does_not_have_is_refused(shared_lake: Lake) -> None:
    async with shared_lake.browser("alice") as browser:
        status, text = await browser.post(
            "/hub/dlaas/servers/auth-type", json={"auth_type": "userpass"}, headers={"Accept": "application/json"}
        )
    assert (status, "oidc, x509_proxy" in text) == (400, True)


async def test_the_servers_own_token_may_renew_and_switch(shared_lake: Lake) -> None:
    token = str(shared_lake.hub.user("alice").spawners[""].api_token)
    status, _, text = await shared_lake.call("/hub/dlaas/renew", token, method="POST")
    assert (status, json.loads(text)) == (200, {"renewed": True, "problems": []})
    switch: dict[str, Any] = {"method": "POST", "json": {"auth_type": "oidc"}}
    assert (await shared_lake.call("/hub/dlaas/servers/auth-type", token, **switch))[0] == 200


async def test_renewing_gives_the_server_a_new_token(shared_lake: Lake) -> None:
    before = (await bundle(shared_lake))[0]["tokens/rucio"]
    async with shared_lake.browser("alice") as browser:
        status, text = await browser.post("/hub/dlaas/renew", headers={"Accept": "application/json"})
    assert (status, json.loads(text)) == (200, {"renewed": True, "problems": []})
    assert (await bundle(shared_lake))[0]["tokens/rucio"] != before


async def test_a_renewal_that_iam_refuses_says_so(shared_lake: Lake) -> None:
    shared_lake.hub.app.tornado_application.settings["dlaas_renew_limits"].clear()
    async with shared_lake.browser("alice") as browser:
        shared_lake.iam.faults.refuse("rucio")
        try:
            _, text = await browser.post("/hub/dlaas/renew", headers={"Accept": "application/json"})
        finally:
            shared_lake.iam.faults.clear()
    answer = json.loads(text)
    assert (answer["renewed"], "refused" in answer["problems"][0]) == (False, True)


async def test_renewing_needs_the_browsers_own_word(shared_lake: Lake) -> None:
    async with shared_lake.browser("alice") as browser:
        assert (await browser.post("/hub/dlaas/renew", headers={"X-XSRFToken": "forged"}))[0] == 403


async def test_renewing_without_end_is_refused(shared_lake: Lake) -> None:
    async with shared_lake.browser("alice") as browser:
        answers = [
            (await browser.post("/hub/dlaas/renew", headers={"Accept": "application/json"}))[0] for _ in range(4)
        ]
    assert answers[-1] == 429


async def test_the_status_tells_each_audience_and_its_end(shared_lake: Lake) -> None:
    async with shared_lake.browser("alice") as browser:
        _, text = await browser.get("/hub/dlaas/status", headers={"Accept": "application/json"})
        status, page = await browser.get("/hub/dlaas/status")
    [audience] = json.loads(text)["servers"][0]["audiences"]
    assert (audience["audience"], audience["valid"], audience["problem"]) == ("rucio", True, None)
    assert status == 200
    assert audience["valid_until"][11:16] in page


async def test_nobody_sees_the_status_without_a_login(shared_lake: Lake) -> None:
    status, headers, _ = await shared_lake.call("/hub/dlaas/status", allow_redirects=False)
    assert (status, "/hub/login" in headers["location"]) == (302, True)

"""The files of a running server, as its own process sees them."""

from __future__ import annotations

import configparser
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import orm
from support.scene import JSON, Scene, Server, until

from jupyterhub_dlaas.oidc.claims import unverified_claims
from jupyterhub_dlaas.oidc.secret import Secret

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = (
    "tokens/rucio",
    "tokens/eos-eulake",
    "eos/token",
    "rucio/etc/rucio.cfg",
    "jupyter/jupyter_server_config.json",
    "datalake.json",
    "status.json",
)


async def cfg(server: Server) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read_string(await server.text("rucio/etc/rucio.cfg") or "")
    return dict(parser["client"]) if parser.has_section("client") else {}


# ---- what is there


@pytest.mark.parametrize("path", FILES)
async def test_each_file_is_there_before_the_server_answers_and_is_private(lake: Scene, path: str) -> None:
    _, server = await lake.working()
    found = await server.file(path)
    assert found is not None
    assert (found["mode"], found["uid"]) == ("0o600", os.getuid())
    assert found["content"]


async def test_a_token_file_is_the_bare_token_of_its_audience(lake: Scene) -> None:
    person, server = await lake.working()
    for key in ("rucio", "eos-eulake"):
        content = await server.text(f"tokens/{key}") or ""
        assert content == content.strip()
        claims = unverified_claims(Secret(content))
        assert (claims["aud"], claims["sub"]) == (key, person.account.sub)


async def test_there_is_no_token_but_those_of_the_environment(lake: Scene) -> None:
    person, server = await lake.working()
    assert sorted((await server.file("tokens") or {})["content"]) == ["eos-eulake", "rucio"]
    plain = await person.start("plain", environment="escape/plain")
    assert await plain.file("tokens/rucio") is None
    assert "OAUTH2_TOKEN" not in await plain.environ()


async def test_nothing_in_the_folder_but_what_is_promised(lake: Scene) -> None:
    _, server = await lake.working()
    folder = Path((await server.environ())["DLAAS_DIR"])
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    others = {"jupyter/labconfig/default_setting_overrides.json", "python/startup.py"}
    assert {path for path in found if not Path(path).name.startswith(".")} == {*FILES, *others}


async def test_the_folders_are_closed_to_everybody_else(lake: Scene) -> None:
    _, server = await lake.working()
    folder = Path((await server.environ())["DLAAS_DIR"])
    for path in (folder, folder / "tokens", folder / "eos"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


async def test_the_eos_line_is_three_fields_without_a_newline(lake: Scene) -> None:
    _, server = await lake.working()
    line = await server.text("eos/token") or ""
    kind, token, introspection = line.split(":")
    assert (kind, introspection) == ("oauth2", "iam.example.org/userinfo")
    assert token == await server.text("tokens/eos-eulake")
    assert "\n" not in line


async def test_the_eos_file_is_named_in_the_first_environment(lake: Scene) -> None:
    _, server = await lake.working()
    environ = await server.environ()
    path = environ["OAUTH2_TOKEN"].removeprefix("FILE:")
    assert path == f"{environ['DLAAS_DIR']}/eos/token"
    assert os.path.realpath(path) == path
    assert not set(path) & set("&=")


async def test_a_renewed_eos_token_is_a_new_file_with_a_new_mtime(lake: Scene) -> None:
    _, server = await lake.working()
    path = Path((await server.environ())["DLAAS_DIR"]) / "eos/token"
    before = path.stat()
    await lake.pass_time(3000, step=600)
    await until(lambda: path.stat().st_ino != before.st_ino)
    assert path.stat().st_mtime_ns > before.st_mtime_ns
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_two_servers_share_no_path(lake: Scene) -> None:
    person, server = await lake.working()
    second = await person.start("second")
    assert (await server.environ())["DLAAS_DIR"] != (await second.environ())["DLAAS_DIR"]


async def test_the_environment_names_the_files_and_holds_no_token(lake: Scene) -> None:
    _, server = await lake.working()
    environ = await server.environ()
    folder = environ["DLAAS_DIR"]
    assert environ["RUCIO_HOME"] == f"{folder}/rucio"
    assert environ["JUPYTER_CONFIG_PATH"].split(":")[0] == f"{folder}/jupyter"
    assert environ["SITE_NAME"] == "CERN-XCACHE"
    assert os.path.isdir(environ["RUCIO_CACHE_DIR"])
    assert not environ["RUCIO_CACHE_DIR"].startswith(folder + "/")
    assert not {"RUCIO_CONFIG", "RUCIO_ACCOUNT", "BEARER_TOKEN"} & set(environ)


async def test_rucio_cfg_names_the_token_file(lake: Scene) -> None:
    person, server = await lake.working()
    found = await cfg(server)
    assert found["rucio_host"] == "https://rucio.example.org"
    assert (found["auth_type"], found["account"]) == ("oidc", person.name)
    assert found["auth_token_file_path"] == f"{(await server.environ())['DLAAS_DIR']}/tokens/rucio"


async def test_the_extension_is_told_of_its_instance(lake: Scene) -> None:
    _, server = await lake.working()
    config = json.loads(await server.text("jupyter/jupyter_server_config.json") or "{}")
    [instance] = config["RucioConfig"]["instances"]
    assert (instance["name"], instance["mode"], instance["destination_rse"]) == ("escape", "replica", "EULAKE-1")


async def test_the_extensions_sign_in_is_seeded_once(lake: Scene) -> None:
    _, server = await lake.working()
    cache = Path((await server.environ())["RUCIO_CACHE_DIR"]) / "cache.db"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    cache.write_bytes(b"the user's own")
    await lake.pass_time(3000, step=600)
    await until(server.has_what_the_hub_has)
    assert cache.read_bytes() == b"the user's own"


async def test_status_json_tells_validity_and_no_token(lake: Scene) -> None:
    _, server = await lake.working()
    text = await server.text("status.json") or ""
    status = json.loads(text)
    assert "eyJ" not in text
    assert set(status["audiences"]) == {"rucio", "eos-eulake"}
    assert all(entry["valid_until"] and not entry["problem"] for entry in status["audiences"].values())
    await until(lambda: _mounts(server, {"eulake": True, "scratch": True}))


async def test_a_mount_that_dies_is_reported(lake: Scene) -> None:
    person, server = await lake.working()
    scratch = lake.folder / "scratch"
    scratch.rmdir()
    try:
        await until(lambda: _mounts(server, {"eulake": True, "scratch": False}))
        _, text = await person.browser.get("/hub/dlaas/status", headers=JSON)
        mounts = {mount["name"]: mount["alive"] for mount in json.loads(text)["servers"][0]["mounts"]}
        assert mounts == {"eulake": True, "scratch": False}
    finally:
        scratch.mkdir()
    await until(lambda: _mounts(server, {"eulake": True, "scratch": True}))


async def _mounts(server: Server, alive: dict[str, bool]) -> bool:
    return {mount["name"]: mount["alive"] for mount in (await server.status()).get("mounts", [])} == alive


# ---- what is damaged comes back


async def test_a_file_that_was_removed_comes_back(lake: Scene) -> None:
    _, server = await lake.working()
    (Path((await server.environ())["DLAAS_DIR"]) / "tokens/rucio").unlink()
    await until(server.has_token)


async def test_an_agent_that_is_killed_comes_back_and_goes_on(lake: Scene) -> None:
    _, server = await lake.working()
    before, token = server.spawner._agent, await server.text("tokens/rucio")
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: server.spawner._agent.pid != before.pid)
    await lake.pass_time(3000, step=600)
    await until(lambda: server.has_token(other_than=token))


async def test_an_agent_killed_while_the_hub_was_away_is_replaced(lake: Scene) -> None:
    _, server = await lake.working()
    agent, token = server.spawner._agent, await server.text("tokens/rucio")
    await lake.hub.stop()
    os.kill(agent.pid, signal.SIGKILL)
    await lake.hub.start()
    await until(lambda: server.spawner._agent and server.spawner._agent.pid != agent.pid)
    await lake.pass_time(3000, step=600)
    await until(lambda: server.has_token(other_than=token))


async def test_an_agent_outlives_the_hub(lake: Scene) -> None:
    _, server = await lake.working()
    agent = server.spawner._agent
    await lake.hub.restart()
    assert agent.alive
    assert server.spawner._agent == agent


async def test_files_and_agent_go_with_the_server(lake: Scene) -> None:
    person, server = await lake.working()
    folder, cache = server.spawner.places.files_dir, server.spawner.places.cache_dir
    agent, token = server.spawner._agent, server.agent_token
    await lake._stop(lake.hub.user(person.name), "")
    assert not os.path.exists(folder)
    assert not os.path.exists(cache)
    assert not agent.alive
    assert orm.APIToken.find(lake.hub.app.db, token) is None


# ---- a start that cannot be


async def test_a_start_fails_with_a_sentence_when_files_cannot_be_written(lake: Scene) -> None:
    person = await lake.person()
    base = lake.folder / "run"
    base.mkdir(exist_ok=True)
    base.chmod(0o777)  # others could change what is in it
    try:
        status, text = await person.ask(environment="escape/root")
    finally:
        base.chmod(0o700)
    assert status == 500
    assert "places_dir" in json.loads(text)["message"]
    assert "can be changed by others" in json.loads(text)["message"]
    assert not lake.hub.user(person.name).spawners[""].active
    assert (await person.ask(environment="escape/root"))[0] == 201


async def test_a_failed_start_leaves_no_token_folder_or_agent(lake: Scene) -> None:
    person = await lake.newcomer("ska")
    assert (await person.log_in())[0] == 200
    lake.iam.faults.refuse("rucio", like="keycloak")
    lake.clock.advance(3700)
    before = set((lake.folder / "run").glob("*"))
    status, text = await person.ask(environment="ska/astro")
    assert status == 403, text
    for part in ("astro cannot work without access to rucio", "does not give you access"):
        assert part in text
    assert set((lake.folder / "run").glob("*")) == before
    assert not [row for row in lake.hub.user(person.name).orm_user.api_tokens if "data lake agent" in (row.note or "")]
    assert lake.hub.dlaas.refresh.gauges()["users_watched"] == 0


async def test_progress_tells_the_steps(lake: Scene) -> None:
    person = await lake.person()
    lake.iam.faults.refuse("eos-eulake", like="keycloak")
    lake.clock.advance(3700)
    server = await person.start()
    said = [event["message"] for event in server.spawner.steps.events]
    assert said[0] == "Preparing ROOT"
    assert any(message.startswith("Access to rucio until ") for message in said), said
    assert any(message.startswith("eos-eulake: ") and "does not give you access" in message for message in said), said
    assert "Starting the server" in said


async def test_progress_is_what_the_hub_streams(lake: Scene) -> None:
    person, _ = await lake.working()
    status, text = await person.browser.get(f"/hub/api/users/{person.name}/server/progress")
    assert (status, '"ready": true' in text) == (200, True)


# ---- shared servers


async def test_a_shared_server_loses_its_token_files_and_gets_them_back(lake: Scene) -> None:
    person, server = await lake.working()
    guest = await lake.person()
    app = lake.hub.app
    orm.Share.grant(app.db, server.spawner.orm_spawner, orm.User.find(app.db, guest.name))
    for path in ("tokens/rucio", "tokens/eos-eulake", "eos/token"):
        await until(lambda path=path: _gone(server, path))
    assert "shared" in (await server.status())["withheld"]
    assert await server.text("rucio/etc/rucio.cfg")
    assert person.held("rucio")
    orm.Share.revoke(app.db, server.spawner.orm_spawner, orm.User.find(app.db, guest.name))
    await until(server.has_token)
    assert (await server.status())["withheld"] == ""


async def test_sharing_one_server_leaves_the_others_alone(lake: Scene) -> None:
    person, server = await lake.working()
    other = await person.start("other")
    guest = await lake.person()
    orm.Share.grant(lake.hub.app.db, server.spawner.orm_spawner, orm.User.find(lake.hub.app.db, guest.name))
    await until(lambda: _gone(server, "tokens/rucio"))
    assert await other.has_token()


# ---- what a user may set going


async def test_another_auth_type_reaches_rucio_cfg(lake: Scene) -> None:
    person, server = await lake.working()
    answer = await person.browser.post("/hub/dlaas/servers/auth-type", json={"auth_type": "x509_proxy"}, headers=JSON)
    assert answer[0] == 200, answer
    await until(lambda: _auth_type(server, "x509_proxy"))
    assert "auth_token_file_path" not in await cfg(server)
    config = json.loads(await server.text("jupyter/jupyter_server_config.json") or "{}")
    assert config["RucioConfig"]["default_auth_type"] == "x509_proxy"


async def test_another_auth_type_survives_a_hub_restart(lake: Scene) -> None:
    person, server = await lake.working()
    await person.browser.post("/hub/dlaas/servers/auth-type", json={"auth_type": "x509_proxy"}, headers=JSON)
    await until(lambda: _auth_type(server, "x509_proxy"))
    await lake.hub.restart()
    before = await server.text("tokens/rucio")
    await lake.pass_time(3600, step=600)
    await until(lambda: server.has_token(other_than=before))
    assert (await cfg(server))["auth_type"] == "x509_proxy"


async def test_a_named_servers_auth_type_is_its_own(lake: Scene) -> None:
    person, server = await lake.working()
    named = await person.start("second")
    path = "/hub/dlaas/servers/second/auth-type"
    assert (await person.browser.post(path, json={"auth_type": "x509_proxy"}, headers=JSON))[0] == 200
    await until(lambda: _auth_type(named, "x509_proxy"))
    assert (await cfg(server))["auth_type"] == "oidc"


async def test_nobody_switches_another_users_server(lake: Scene) -> None:
    _, server = await lake.working()
    other, _ = await lake.working()
    token = (await server.environ())["JUPYTERHUB_API_TOKEN"]
    status, _ = await other.browser.post("/hub/dlaas/servers/auth-type", json={"auth_type": "x509_proxy"}, headers=JSON)
    assert status == 200
    assert (await cfg(server))["auth_type"] == "oidc"
    # A server's own token opens that server, not one of another name.
    status, _ = await lake.call("/hub/dlaas/servers/second/auth-type", token, "POST", json={"auth_type": "oidc"})
    assert status == 404


async def test_the_renew_button_gives_the_server_a_new_token(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    assert (await person.browser.post("/hub/dlaas/renew", headers=JSON))[0] == 200
    await until(lambda: server.has_token(other_than=before))


async def test_the_renew_button_needs_the_pages_own_word(lake: Scene) -> None:
    person, server = await lake.working()
    before = person.held("rucio")
    for headers in ({"X-XSRFToken": ""}, {"X-XSRFToken": "forged"}):
        assert (await person.browser.post("/hub/dlaas/renew", headers=headers))[0] == 403
    assert person.held("rucio") == before
    assert await server.has_token()


async def test_the_renew_button_has_a_limit(lake: Scene) -> None:
    person, _ = await lake.working()
    answers = [(await person.browser.post("/hub/dlaas/renew", headers=JSON))[0] for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]


async def test_without_a_login_there_is_nothing_to_see_or_renew(lake: Scene) -> None:
    person = await lake.newcomer()
    status, text = await person.browser.get("/hub/dlaas/status", allow_redirects=False)
    assert (status, text) == (302, "")
    assert (await person.browser.post("/hub/dlaas/renew"))[0] == 403


async def test_the_status_page_tells_each_server_and_audience(lake: Scene) -> None:
    person, _ = await lake.working()
    await person.start("second", environment="escape/plain")
    status, text = await person.browser.get("/hub/dlaas/status", headers=JSON)
    found: dict[str, Any] = json.loads(text)
    assert (status, found["user"]) == (200, person.name)
    first, second = found["servers"]
    assert (first["name"], first["environment"], first["auth_type"]) == ("", "escape/root", "oidc")
    assert {entry["audience"]: entry["valid"] for entry in first["audiences"]} == {"rucio": True, "eos-eulake": True}
    assert (second["name"], second["audiences"]) == ("second", [])
    assert "eyJ" not in text


async def test_the_status_page_is_each_users_own(lake: Scene) -> None:
    await lake.working()
    other = await lake.person()
    _, text = await other.browser.get("/hub/dlaas/status", headers=JSON)
    assert json.loads(text)["servers"] == []


async def test_an_agents_polling_keeps_no_idle_user_active(lake: Scene) -> None:
    person, server = await lake.working()
    user = lake.hub.user(person.name)
    user.orm_user.last_activity = None
    lake.hub.app.db.commit()
    asked = lake.hub.dlaas.agents.get(server.spawner).bundle_limit._at
    await until(lambda: lake.hub.dlaas.agents.get(server.spawner).bundle_limit._at > asked)
    assert user.orm_user.last_activity is None


async def _gone(server: Server, path: str) -> bool:
    return await server.text(path) is None


async def _auth_type(server: Server, wanted: str) -> bool:
    return (await cfg(server)).get("auth_type") == wanted


# ---- what a server's own extension says


async def test_a_server_says_whether_its_downloads_have_their_own_tokens(lake: Scene) -> None:
    _, server = await lake.working()
    token = (await server.environ())["JUPYTERHUB_API_TOKEN"]
    path = "/hub/dlaas/servers/own-tokens"
    assert server.spawner.own_tokens is None
    assert (await lake.call(path, token, "POST", json={"problem": "no panel"}))[0] == 204
    await lake.hub.restart()
    assert server.spawner.own_tokens == "no panel"
    assert (await lake.call(path, token, "POST", json={"problem": "x" * 301}))[0] == 400
    assert (await lake.call(path, token, "POST", json=["x"]))[0] == 400
    assert (await lake.call("/hub/dlaas/servers/second/own-tokens", token, "POST", json={"problem": ""}))[0] == 404
    assert server.spawner.own_tokens == "no panel"

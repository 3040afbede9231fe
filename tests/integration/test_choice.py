"""What a user may ask for, by form and by REST, whatever the catalogue or the request looks like."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from jupyterhub import roles
from support.scene import ESCAPE, Scene, until, words

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def sound(lake: Scene) -> AsyncIterator[None]:
    """After each test the catalogue is as it was."""
    yield
    write(lake, ESCAPE)


def write(lake: Scene, text: str) -> None:
    """A new catalogue of escape; the hub's next look, which comes within seconds, is made at once."""
    (lake.folder / "catalogue.d/escape.yaml").write_text(text.format(folder=lake.folder))
    lake.hub.dlaas.catalogues.reload()


async def rest(lake: Scene, person: Any, body: Any) -> tuple[int, str]:
    """(status, message) of a start by REST with any body."""
    status, text = await person.browser.post(
        f"/hub/api/users/{person.name}/server", data=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    return status, (json.loads(text)["message"] or "") if status >= 400 else text


FORGED: list[tuple[dict[str, Any], str]] = [
    ({"environment": "escape/none"}, "It is one of: escape/root, escape/plain"),
    ({"environment": "ska/astro"}, "It is one of: escape/root, escape/plain"),
    ({"environment": ""}, "It is one of: escape/root, escape/plain"),
    ({"environment": ["escape/root"]}, "It is one of: escape/root, escape/plain"),
    ({"environment": {"name": "escape/root"}}, "It is one of"),
    ({"environment": None}, "It is one of"),
    ({"environment": True}, "It is one of"),
    ({"environment": "escape/root "}, "It is one of"),
    ({"environment": "{username}"}, "It is one of"),
    ({"environment": "escape/../ska/astro"}, "It is one of"),
    ({"environment": "escape/root", "resources": "huge"}, "It is one of: small, large"),
    ({"environment": "escape/root", "resources": ""}, "It is one of: small, large"),
    ({"environment": "escape/root", "resources": {"cpu": 100}}, "It is one of: small, large"),
    ({"environment": "escape/plain", "resources": "large"}, "leave the option out"),
    ({"environment": "escape/root", "auth_type": "userpass"}, "It is one of: oidc, x509_proxy"),
    ({"environment": "escape/root", "auth_type": []}, "It is one of: oidc, x509_proxy"),
    ({"image": "evil/x:1"}, "The options are environment, resources, auth_type"),
    ({"environment": "escape/root", "profile": "x"}, "The options are environment, resources, auth_type"),
    ({"image--unlisted-choice": "evil/x:1"}, "The options are environment, resources, auth_type"),
    ({"environment": "escape/root", "": ""}, "The options are environment, resources, auth_type"),
    ({"cmd": ["sh", "-c", "id"]}, "The options are environment, resources, auth_type"),
]


@pytest.mark.parametrize(("options", "said"), FORGED, ids=lambda value: json.dumps(value)[:50])
async def test_forged_options_are_refused_with_what_is_allowed(lake: Scene, options: dict[str, Any], said: str) -> None:
    person = await lake.person()
    status, message = await rest(lake, person, options)
    assert (status, said in message) == (400, True), message
    assert not lake.hub.user(person.name).spawners[""].active


async def test_options_that_are_no_object_start_nothing(lake: Scene) -> None:
    person = await lake.person()
    status, _ = await rest(lake, person, ["escape/root"])
    assert status >= 400
    spawner = lake.hub.user(person.name).spawners[""]
    assert not spawner.pid  # JupyterHub 5.5 fails before it asks us, and takes the server for running without a process
    assert not lake.hub.dlaas.agents.get(spawner)


async def test_what_was_refused_is_not_remembered(lake: Scene) -> None:
    person = await lake.person()
    await rest(lake, person, {"environment": "escape/root", "resources": "huge"})
    assert (await rest(lake, person, {}))[0] == 201
    assert lake.hub.user(person.name).spawners[""].user_options["resources"] == "small"


async def test_the_form_starts_what_was_chosen(lake: Scene) -> None:
    person = await lake.person()
    status, page = await person.browser.get("/hub/spawn")
    assert (status, 'value="escape/root"' in page) == (200, True)
    form = {
        "environment": "escape/root",
        "resources:escape/root": "large",
        "auth_type:escape/root": "x509_proxy",
        "_xsrf": person.browser.xsrf(),
    }
    status, page = await person.browser.post(f"/hub/spawn/{person.name}", form)
    spawner = lake.hub.user(person.name).spawners[""]
    await until(lambda: spawner.ready, what=words(page))
    assert spawner.user_options == {"environment": "escape/root", "resources": "large", "auth_type": "x509_proxy"}


async def test_a_forged_form_starts_nothing_and_says_why(lake: Scene) -> None:
    person = await lake.person()
    await person.browser.get("/hub/spawn")
    form = {"environment": "ska/astro", "_xsrf": person.browser.xsrf()}
    _, page = await person.browser.post(f"/hub/spawn/{person.name}", form)
    assert "It is one of: escape/root, escape/plain" in words(page)
    assert not lake.hub.user(person.name).spawners[""].active


async def test_options_in_an_address_pass_the_same_gate(lake: Scene) -> None:
    person = await lake.person()
    _, page = await person.browser.get(f"/hub/spawn/{person.name}?environment=ska/astro")
    assert not lake.hub.user(person.name).spawners[""].active
    assert "It is one of: escape/root, escape/plain" in words(page), words(page)


async def test_no_options_mean_the_choice_before(lake: Scene) -> None:
    person = await lake.person()
    chosen = {"environment": "escape/root", "resources": "large", "auth_type": "x509_proxy"}
    await person.start(**chosen)
    await lake._stop(lake.hub.user(person.name), "")
    status, text = await rest(lake, person, {})
    assert status == 201, text
    assert lake.hub.user(person.name).spawners[""].user_options == chosen


async def test_the_choice_before_is_remembered_over_a_hub_restart(lake: Scene) -> None:
    person = await lake.person()
    await person.start(environment="escape/plain")
    await lake._stop(lake.hub.user(person.name), "")
    await lake.hub.restart()
    assert (await rest(lake, person, {}))[0] == 201
    assert lake.hub.user(person.name).spawners[""].user_options["environment"] == "escape/plain"


async def test_the_form_shows_the_choice_before(lake: Scene) -> None:
    person = await lake.person()
    await person.start(environment="escape/plain")
    await lake._stop(lake.hub.user(person.name), "")
    _, page = await person.browser.get("/hub/spawn")
    [field] = [part for part in page.split("<input") if 'value="escape/plain"' in part.partition(">")[0]]
    assert " checked" in field.partition(">")[0]


async def test_a_choice_that_is_not_offered_any_more_is_forgotten(lake: Scene) -> None:
    person = await lake.person("escape", "ska")
    await person.start(environment="ska/astro")
    await lake._stop(lake.hub.user(person.name), "")
    person.account.groups = ["escape"]
    lake.clock.advance(1000)
    assert (await rest(lake, person, {}))[0] == 201
    assert lake.hub.user(person.name).spawners[""].user_options["environment"] == "escape/root"


async def test_one_environment_without_a_choice_shows_no_page(lake: Scene) -> None:
    person = await lake.person("ska")
    await person.browser.get("/hub/spawn")
    await until(lambda: lake.hub.user(person.name).spawners[""].ready)


async def test_a_member_of_two_vos_is_offered_both(lake: Scene) -> None:
    person = await lake.person("escape", "ska")
    _, page = await person.browser.get("/hub/spawn")
    assert 'value="escape/root"' in page
    assert 'value="ska/astro"' in page


async def test_a_subgroups_environment_shows_to_it_alone(lake: Scene) -> None:
    write(lake, ESCAPE + "    groups: [escape/cms]\n")
    outside, inside = await lake.person("escape"), await lake.person("escape", "escape/cms")
    assert (await rest(lake, outside, {"environment": "escape/plain"}))[0] == 400
    assert (await rest(lake, inside, {"environment": "escape/plain"}))[0] == 201


async def test_a_catalogue_broken_while_running_keeps_the_last_good_one(lake: Scene) -> None:
    person = await lake.person()
    write(lake, "vo: escape\nenvironments: [\n")
    since = lake.log_size()
    assert (await rest(lake, person, {"environment": "escape/root"}))[0] == 201
    assert "escape" in lake.hub.dlaas.catalogues.open
    [problem] = lake.hub.dlaas.catalogues.problems["escape"][:1]
    assert problem.line
    assert lake.log(since).count("Traceback") == 0


async def test_a_server_whose_environment_left_the_catalogue_is_renewed_after_a_hub_restart(lake: Scene) -> None:
    _, server = await lake.working()
    before = await server.text("tokens/rucio")
    write(lake, ESCAPE.replace("- name: root", "- name: newer"))
    await lake.hub.restart()
    await lake.pass_time(3660)
    await until(lambda: server.has_token(other_than=before))


async def test_a_mended_catalogue_is_taken_up_without_a_restart(lake: Scene) -> None:
    person = await lake.person()
    more = ESCAPE + "  - name: new\n    image: registry.example.org/escape/new:1\n"
    (lake.folder / "catalogue.d/escape.yaml").write_text(more.format(folder=lake.folder))
    await until(lambda: len(lake.hub.dlaas.catalogues.open["escape"].environments) == 3)
    status, text = await rest(lake, person, {"environment": "escape/new"})
    assert status == 201, text


BEYOND = {
    "an image": ("escape/root:6.32", "evil.example.org/x:1"),
    "a host": ("https://rucio.example.org", "https://rucio.evil.org"),
    "an audience": ("audience: rucio", "audience: storage"),
    "a host path": ("host_path: {folder}/var/eos", "host_path: /etc"),
    "resources": ("cpu: 4", "cpu: 400"),
}


@pytest.mark.parametrize("which", BEYOND)
async def test_a_catalogue_beyond_its_grants_closes_that_vo_alone(lake: Scene, which: str) -> None:
    old, new = BEYOND[which]
    if which == "an image":
        old = "registry.example.org/" + old
    text = ESCAPE.replace(old, new)
    assert text != ESCAPE
    person, other = await lake.person(), await lake.person("ska")
    write(lake, text)
    status, message = await rest(lake, person, {"environment": "escape/plain"})
    assert (status, "no environment is offered" in message) == (403, True), message
    assert (await rest(lake, other, {}))[0] == 201
    assert "escape" in lake.hub.dlaas.catalogues.closed


async def test_a_closed_vo_does_not_touch_servers_that_run(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    write(lake, ESCAPE.replace("cpu: 4", "cpu: 400"))
    await lake.pass_time(3600, step=600)
    await until(lambda: server.has_token(other_than=before))
    assert person.logged_in


async def test_two_files_that_claim_one_vo_close_it(lake: Scene) -> None:
    person = await lake.person()
    second = lake.folder / "catalogue.d/other.yaml"
    second.write_text(ESCAPE.format(folder=lake.folder))
    lake.hub.dlaas.catalogues.reload()
    try:
        assert (await rest(lake, person, {"environment": "escape/plain"}))[0] == 403
    finally:
        second.unlink()
        lake.hub.dlaas.catalogues.reload()
    assert (await rest(lake, person, {"environment": "escape/plain"}))[0] == 201


async def test_the_options_page_escapes_what_a_catalogue_says(lake: Scene) -> None:
    evil = "<script>alert(1)</script>"
    write(
        lake,
        ESCAPE.replace("display_name: ROOT\n", "display_name: XX\n")
        .replace("description: ROOT 6\n", "description: XX\n")
        .replace("display_name: ESCAPE Data Lake\n", "display_name: XX\n")
        .replace("display_name: ESCAPE\n", "display_name: XX\n")
        .replace("XX", json.dumps(evil)),
    )
    person = await lake.person()
    status, page = await person.browser.get("/hub/spawn")
    assert (status, "&lt;script&gt;alert(1)" in page) == (200, True), lake.hub.dlaas.catalogues.problems
    assert "<script>alert(1)" not in page


async def test_the_status_page_and_progress_escape_what_a_catalogue_says(lake: Scene) -> None:
    evil = "<script>alert(1)</script>"
    write(lake, ESCAPE.replace("display_name: ROOT\n", f"display_name: {json.dumps(evil)}\n"))
    person = await lake.person()
    await person.start()
    _, page = await person.browser.get("/hub/dlaas/status")
    assert "&lt;script&gt;alert(1)" in page
    assert evil not in page


async def test_a_refusal_escapes_what_was_asked_for(lake: Scene) -> None:
    person = await lake.person()
    await person.browser.get("/hub/spawn")
    form = {"environment": "<script>alert(1)</script>", "_xsrf": person.browser.xsrf()}
    _, page = await person.browser.post(f"/hub/spawn/{person.name}", form)
    assert "<script>alert(1)" not in page


async def test_an_administrator_starts_for_a_user_only_what_that_user_may(lake: Scene) -> None:
    person, admin = await lake.person(), await lake.person("ska")
    user = lake.hub.user(admin.name)
    user.admin = True
    roles.assign_default_roles(lake.hub.app.db, entity=user.orm_user)
    lake.hub.app.db.commit()
    where = f"/hub/api/users/{person.name}/server"
    token = user.new_api_token()
    status, text = await lake.call(where, token, "POST", json={"environment": "ska/astro"})
    assert status == 400, text
    status, text = await lake.call(where, token, "POST", json={"environment": "escape/root"})
    assert status == 201, text

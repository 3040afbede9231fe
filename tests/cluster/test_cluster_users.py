"""Several people and several servers: what is whose, and what nobody gets by asking differently."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from support.leaks import Leaks

from cluster import leaks
from cluster.people import GID, UID, Visitor, agent_tokens, on_node, until
from jupyterhub_dlaas.demo.check.jupyter import Server
from jupyterhub_dlaas.demo.check.web import Failed, Page

ENVIRONMENT = "escape/astronomy"
BUNDLE = (
    "import sys, urllib.error, urllib.request as r\n"
    "for token in sys.argv[2:]:\n"
    "    request = r.Request(sys.argv[1], headers={'Authorization': 'token ' + token})\n"
    "    try: print(r.urlopen(request, timeout=10).status)\n"
    "    except urllib.error.HTTPError as error: print(error.code)\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(visit: Callable[..., Any]) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """Two members of one VO whose servers run."""
    one, other = await visit("user0"), await visit("user1")
    await asyncio.gather(one.start(ENVIRONMENT), other.start(ENVIRONMENT))
    yield one, other
    await one.leave_nothing()
    await other.leave_nothing()


# --- in no VO, and forged ---------------------------------------------------------------------------------------------


async def test_somebody_in_no_vo_gets_no_server_and_is_told_why(visit: Callable[..., Any]) -> None:
    carol = await visit("carol")
    for environment in (None, ENVIRONMENT):
        with pytest.raises(Failed, match="no environment is offered to your groups"):
            await carol.start(environment)
    page = await carol.browser.open("/hub/spawn/carol")
    assert "No environment is offered to you" in page.text
    assert not carol.pods()


@pytest.mark.parametrize(
    "options",
    [
        {"environment": "ska/imaging"},
        {"environment": "escape/nowhere"},
        {"environment": ""},
        {"environment": None},
        {"environment": [ENVIRONMENT]},
        {"environment": ENVIRONMENT + "/../particle-physics"},
        {"environment": "escape/particle-physics"},
        {"environment": ENVIRONMENT, "resources": "huge"},
        {"environment": ENVIRONMENT, "resources": ""},
        {"environment": ENVIRONMENT, "auth_type": "userpass"},
        {"environment": ENVIRONMENT, "image": "localhost/evil:1"},
        {"environment": ENVIRONMENT, "image--unlisted-choice": "localhost/evil:1"},
        {"environment": ENVIRONMENT, "profile": "astronomy"},
        {"profile": ""},
        {"profile": "astronomy", "image--unlisted-choice": "localhost/evil:1"},
        {"environment": ENVIRONMENT, "extra_pod_config": {"hostPID": True}},
        {"environment": "{user_server}"},
    ],
    ids=lambda options: json.dumps(options),
)
async def test_forged_options_start_nothing(visit: Callable[..., Any], options: dict[str, Any]) -> None:
    """user0 is not in escape/cms, so particle-physics is not offered to them."""
    forger = await visit("user0")
    with pytest.raises(Failed) as problem:
        await forger.start_with(options)
    assert "Internal" not in str(problem.value)
    assert not forger.pods()
    assert not agent_tokens("user0")


async def test_a_forged_form_starts_nothing(visit: Callable[..., Any]) -> None:
    forger = await visit("user0")
    page = await forger.browser.open("/hub/spawn/user0")
    form = next(form for form in page.forms if "environment" in form.choices)
    await forger.browser.submit(page, form, environment="ska/imaging")

    async def refusal() -> Page | None:
        answer = await forger.browser.open("/hub/spawn-pending/user0")
        return None if answer.status == 200 else answer  # the page of a start under way may be quicker

    answer = await until("the refusal", refusal)
    assert answer.status == 400
    assert "environment cannot be 'ska/imaging'" in answer.text
    assert not forger.pods()
    assert not agent_tokens("user0")


async def test_the_start_of_a_server_for_somebody_else_is_refused(visit: Callable[..., Any]) -> None:
    forger = await visit("user0")
    await forger.browser.open("/hub/home")
    status, _ = await forger.ask("POST", "/hub/api/users/alice/server", {"environment": ENVIRONMENT})
    assert status in (403, 404)


# --- two people -------------------------------------------------------------------------------------------------------


async def test_each_has_tokens_of_their_own(pair: tuple[Visitor, Visitor]) -> None:
    subjects = [
        person.inside(
            'python3 -c \'import base64, json, os; t = open(os.environ["DLAAS_DIR"] + "/tokens/rucio").read();'
            ' print(json.loads(base64.urlsafe_b64decode(t.split(".")[1] + "=="))["sub"])\''
        )
        for person in pair
    ]
    assert all(subjects)
    assert subjects[0] != subjects[1]


async def test_each_is_another_account_for_rucio(pair: tuple[Visitor, Visitor]) -> None:
    for person in pair:
        printed, _ = await person.jupyter().run("rucio whoami </dev/null")
        assert f"account    : {person.name}" in printed or f"account: {person.name}" in " ".join(printed.split(" "))


async def test_their_paths_and_secrets_differ(pair: tuple[Visitor, Visitor]) -> None:
    paths = {on_node(person.pod(), "eos", "notebook", UID, GID)["path"] for person in pair}
    secrets = {
        volume["secret"]["secretName"]
        for person in pair
        for volume in person.pod()["spec"]["volumes"]
        if volume["name"] == "dlaas-credential"
    }
    assert len(paths) == len(secrets) == 2


async def test_neither_sees_the_others_home_or_scratch(pair: tuple[Visitor, Visitor]) -> None:
    one, other = pair
    for place in ("/scratch", "/home/jovyan"):
        one.inside(f"echo {one.name} > {place}/whose")
        other.inside(f"echo {other.name} > {place}/whose")
        assert one.inside(f"cat {place}/whose") == one.name
        # Nor anything above it: the folder of all users is not there.
        assert other.name not in one.inside(f"ls -a {place} {place}/.. 2>/dev/null || true")


async def test_the_notebook_has_neither_the_agents_credential_nor_its_processes(pair: tuple[Visitor, Visitor]) -> None:
    one, _ = pair
    assert one.inside("ls /run/dlaas-credential 2>&1 || true").endswith("No such file or directory")
    processes = one.inside("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "jupyterhub-singleuser" in processes
    assert "dlaas-agent" not in processes
    assert one.inside("ls /var/run/secrets/kubernetes.io 2>&1 || true").endswith("No such file or directory")


async def test_the_agents_credential_is_in_no_file_that_the_notebook_can_read(pair: tuple[Visitor, Visitor]) -> None:
    one, _ = pair
    known = leaks.remember()
    text = one.inside("cat /proc/self/environ; find $DLAAS_DIR /run/dlaas-cache /tmp -type f -exec cat {} +")
    assert not [secret for secret in known if len(secret) >= 8 and secret in text]


async def test_neither_opens_the_others_server(pair: tuple[Visitor, Visitor]) -> None:
    one, other = pair
    status, _ = await one.ask("GET", f"{other.base()}api/contents")
    assert status in (403, 404)
    with pytest.raises(Failed):
        await Server(one.browser, other.base()).run("id", seconds=10)
    address = other.pod()["status"]["podIP"]
    code = one.inside(
        f'curl -s -o /dev/null -w %{{http_code}} -H "Authorization: token $JUPYTERHUB_API_TOKEN"'
        f" http://{address}:8888{other.base()}api/contents || python3 -c '{_direct(address, other)}'"
    )
    assert code in ("403", "404", "302")


def _direct(address: str, other: Visitor) -> str:
    return (
        "import os, urllib.error, urllib.request as r\n"
        f'request = r.Request("http://{address}:8888{other.base()}api/contents",'
        ' headers={"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]})\n'
        "try: print(r.urlopen(request).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )


async def test_each_status_is_about_its_own_user(pair: tuple[Visitor, Visitor]) -> None:
    one, other = pair
    status, text = await one.ask("GET", f"/hub/dlaas/status?user={other.name}")
    assert status == 200
    assert json.loads(text)["user"] == one.name
    assert other.name not in text


async def test_the_token_api_answers_no_token_that_a_notebook_has(pair: tuple[Visitor, Visitor]) -> None:
    one, _ = pair
    tokens = "$JUPYTERHUB_API_TOKEN $(cat $DLAAS_DIR/tokens/rucio) $(cat $DLAAS_DIR/tokens/eos-eulake)"
    said = one.inside(f'python3 -c "{BUNDLE}" http://hub:8081/hub/dlaas/bundle {tokens}')
    assert set(said.split()) == {"403"}


async def test_no_process_has_a_token_in_its_environment_or_arguments(pair: tuple[Visitor, Visitor]) -> None:
    found = Leaks(leaks.remember())
    for person in pair:
        for container in ("notebook", "dlaas-agent"):
            for process in on_node(person.pod(), "processes", container):
                variables = process["variables"]
                variables.pop("JUPYTERHUB_API_TOKEN", None)
                found.text(f"{container} of {person.name}", json.dumps([process["arguments"], variables]))
    assert found.looked_at >= 4
    assert not found.found


async def test_a_name_that_needs_escaping_works_and_has_a_folder_of_its_own(
    visit: Callable[..., Any], iam: Callable[..., Any]
) -> None:
    name = "d.o_neil+x@example.org"
    iam(f"users/{quote(name)}", {"password": f"{name}-pw", "groups": ["escape"]})
    person = await visit(name)
    await person.start(ENVIRONMENT)
    assert person.inside("touch /scratch/here && ls /scratch") == "here"
    assert all(audience["valid"] for audience in (await person.status())["audiences"])
    await person.stop()
    assert not agent_tokens(name)


# --- two servers of one person ----------------------------------------------------------------------------------------


async def test_two_named_servers_have_an_agent_and_a_secret_each(visit: Callable[..., Any]) -> None:
    alice = await visit("alice")
    await asyncio.gather(alice.start(ENVIRONMENT, "one"), alice.start("escape/baseline", "two"))
    paths = [alice.inside("echo $DLAAS_DIR", server=server) for server in ("one", "two")]
    assert len({*paths}) == 2
    assert len(agent_tokens("alice")) == 2
    environments = {name: (await alice.status(name))["environment"] for name in ("one", "two")}
    assert environments == {"one": ENVIRONMENT, "two": "escape/baseline"}
    assert "eos-eulake" not in alice.inside("ls $DLAAS_DIR/tokens", server="two")


async def test_one_of_them_stops_and_the_other_goes_on(visit: Callable[..., Any]) -> None:
    alice = await visit("alice")
    await alice.stop("one")
    await until("one token is left", lambda: len(agent_tokens("alice")) == 1, seconds=20)
    assert all(audience["valid"] for audience in (await alice.status("two"))["audiences"])
    printed, _ = await alice.jupyter("two").run("rucio whoami </dev/null")
    assert "alice" in printed
    await alice.stop("two")
    assert not agent_tokens("alice")

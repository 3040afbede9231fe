"""A hostile VO maintainer and a hostile notebook: neither gets anything, and nobody else is harmed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from cluster.kubectl import ClusterError, get, kubectl
from cluster.lake import TOKEN_SECONDS
from cluster.people import GID, UID, Visitor, on_node, restarts, until
from jupyterhub_dlaas.demo.check.web import Failed

HEAD = """
vo: {vo}
rucio_instances:
  mine: {{rucio_host: "{rucio_host}", audience: {audience}, mode: download}}
storages:
  theirs: {storage}
environments:
  - name: trap
    display_name: Trap
    description: "{description}"
    image: {image}
    rucio: [mine]
    storages: [theirs]
"""
HONEST = {
    "rucio_host": "http://rucio.dlaas-test.svc:8080",
    "audience": "rucio",
    "storage": "{type: scratch, host_path: /var/lib/dlaas-test/scratch/hostile, mount_path: /theirs}",
    "image": "localhost/hostile:1",
    "description": "Hello",
}


def hostile(trick: str, **changed: str) -> tuple[str, str]:
    values = {"vo": f"hostile-{trick}", **HONEST, **changed}
    return f"hostile-{trick}", HEAD.format(**values)


def host_path(path: str) -> str:
    return f"{{type: scratch, host_path: {path}, mount_path: /theirs, read_only: false}}"


CATALOGUES = dict(
    [
        hostile("runtime-socket", storage=host_path("/run/containerd")),
        hostile("kubelet", storage=host_path("/var/lib/dlaas-test/scratch/hostile/../../../kubelet")),
        hostile("secret", storage="{type: volume, secret: lake-secrets, mount_path: /theirs}"),
        hostile("claim", storage="{type: volume, claim: hub-db-dir, mount_path: /theirs}"),
        hostile("audience", audience="ska-storage"),
        hostile("rucio-host", rucio_host="http://collector.example.org:8080"),
        hostile("image", image="localhost/dlaas-singleuser:dev"),
        hostile("other-vo", vo="ska"),
    ]
)
HARMLESS = dict(
    [hostile("script", description="<script>document.title = 'owned'</script><img src=x onerror=alert(1)>")]
)


@pytest.fixture(scope="module")
def catalogues() -> Iterator[None]:
    """The hostile files lie in the hub's ConfigMap, beside the honest ones."""
    files = {f"{name}.yaml": text for name, text in {**CATALOGUES, **HARMLESS}.items()}
    kubectl("patch", "configmap", "catalogue", "--type=merge", "-p", json.dumps({"data": files}))
    yield
    kubectl("patch", "configmap", "catalogue", "--type=merge", "-p", json.dumps({"data": dict.fromkeys(files)}))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def user0(visit: Callable[..., Any], catalogues: None, say: Callable[[str], None]) -> Visitor:
    """A member of ESCAPE, to whom the hostile VOs would be offered; the hub has read their files."""
    person: Visitor = await visit("user0")

    async def offered() -> bool:
        page = await person.browser.open("/hub/spawn/user0")
        return any("hostile-script/trap" in form.choices.get("environment", []) for form in page.forms)

    await until("the hub has read the changed ConfigMap", offered, seconds=150, every=2, say=say)
    return person


@pytest.mark.parametrize("vo", CATALOGUES)
async def test_a_catalogue_beyond_its_grant_is_closed(user0: Visitor, vo: str) -> None:
    page = await user0.browser.open("/hub/spawn/user0")
    (form,) = [form for form in page.forms if "environment" in form.choices]
    assert f"{vo}/trap" not in form.choices["environment"]
    with pytest.raises(Failed):
        await user0.start(f"{vo}/trap")
    assert not user0.pods()


async def test_the_hubs_log_says_what_was_wrong_with_each(user0: Visitor) -> None:
    log = kubectl("logs", "deployment/hub")
    for vo in CATALOGUES:
        assert any(vo in line and "closed" in line for line in log.splitlines()), vo


async def test_the_honest_vos_are_open(user0: Visitor, visit: Callable[..., Any]) -> None:
    page = await user0.browser.open("/hub/spawn/user0")
    (form,) = [form for form in page.forms if "environment" in form.choices]
    assert "escape/astronomy" in form.choices["environment"]
    bob = await visit("bob")
    await bob.start("ska/imaging")
    printed, _ = await bob.jupyter().run("rucio whoami </dev/null")
    assert "bob" in printed
    await bob.stop()


async def test_a_script_in_a_description_is_text(user0: Visitor) -> None:
    page = await user0.browser.open("/hub/spawn/user0")
    assert "&lt;script&gt;document.title" in page.html
    assert "<script>document.title" not in page.html
    assert "<img src=x" not in page.html


# --- a hostile notebook -----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hostile_notebook(user0: Visitor, visit: Callable[..., Any]) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """user0's server is the hostile one; user1's is its neighbour."""
    neighbour = await visit("user1")
    await user0.start("escape/astronomy")
    await neighbour.start("escape/astronomy")
    yield user0, neighbour
    await user0.leave_nothing()
    await neighbour.leave_nothing()


async def test_it_cannot_write_where_its_tokens_are(hostile_notebook: tuple[Visitor, Visitor]) -> None:
    attacker, _ = hostile_notebook
    for command in (
        "touch $DLAAS_DIR/mine",
        "ln -s /etc/passwd $DLAAS_DIR/tokens/link",
        "rm -f $DLAAS_DIR/tokens/rucio",
        "mv $DLAAS_DIR/tokens $DLAAS_DIR/gone",
        "chmod 777 $DLAAS_DIR",
        "mount -o remount,rw $DLAAS_DIR",
    ):
        said = attacker.inside(f"{command} 2>&1 && echo done || true")
        assert not said.endswith("done"), command


async def test_it_fills_and_links_what_it_may_write_and_is_renewed_all_the_same(
    hostile_notebook: tuple[Visitor, Visitor], say: Callable[[str], None]
) -> None:
    attacker, _ = hostile_notebook
    attacker.inside(
        "cd /run/dlaas-cache; rm -rf rucio; ln -s $DLAAS_DIR rucio; ln -s /dev/zero zero; mkdir deep; "
        "head -c 200M /dev/zero > full 2>/dev/null || true; for i in $(seq 2000); do : > many.$i || break; done; "
        "(dd if=/dev/zero of=/scratch/full bs=1M count=8 2>/dev/null || true)"
    )
    before = on_node(attacker.pod(), "eos", "notebook", UID, GID)["expires"]

    def renewed() -> bool:
        return bool(on_node(attacker.pod(), "eos", "notebook", UID, GID)["expires"] > before)

    await until("the token is renewed", renewed, seconds=2 * TOKEN_SECONDS, every=2, say=say)
    attacker.inside("rm -rf /run/dlaas-cache/* /scratch/full")


async def test_nothing_that_it_finds_opens_the_token_api(hostile_notebook: tuple[Visitor, Visitor]) -> None:
    attacker, _ = hostile_notebook
    code = (
        "import os, re, subprocess, urllib.error, urllib.request as r\n"
        "text = subprocess.run('env; find /run /tmp /home/jovyan -type f -size -64k -exec cat {} + 2>/dev/null',"
        " shell=True, capture_output=True).stdout.decode(errors='replace')\n"
        "found = sorted(set(re.findall(r'[A-Za-z0-9_.-]{20,}', text)))\n"
        "tried = [word for word in found if re.fullmatch(r'[0-9a-f]{32}|eyJ.*', word)]\n"
        "codes = set()\n"
        "for word in tried[:40]:\n"
        "    request = r.Request('http://hub:8081/hub/dlaas/bundle', headers={'Authorization': 'token ' + word})\n"
        "    try: codes.add(r.urlopen(request, timeout=10).status)\n"
        "    except urllib.error.HTTPError as error: codes.add(error.code)\n"
        "print(len(tried), sorted(codes))\n"
    )
    name = attacker.pod()["metadata"]["name"]
    said = kubectl("exec", "-i", name, "-c", "notebook", "--", "python3", "-", stdin=code).split(maxsplit=1)
    assert int(said[0]) >= 2
    assert said[1].strip() == "[403]"


async def test_the_cluster_answers_it_nothing(hostile_notebook: tuple[Visitor, Visitor]) -> None:
    attacker, _ = hostile_notebook
    code = (
        "import ssl, urllib.error, urllib.request as r\n"
        "for url in ('https://kubernetes.default/api/v1/namespaces/dlaas-test/secrets',"
        " 'https://kubernetes.default/api/v1/namespaces/dlaas-test/pods'):\n"
        "    try: print(r.urlopen(url, context=ssl._create_unverified_context(), timeout=10).status)\n"
        "    except urllib.error.HTTPError as error: print(error.code)\n"
    )
    name = attacker.pod()["metadata"]["name"]
    said = kubectl("exec", "-i", name, "-c", "notebook", "--", "python3", "-", stdin=code)
    assert set(said.split()) <= {"401", "403"}


async def test_it_kills_what_it_can_and_the_agent_lives(hostile_notebook: tuple[Visitor, Visitor]) -> None:
    attacker, _ = hostile_notebook
    with suppress(ClusterError):  # it meets itself
        attacker.inside("for p in $(seq 2 4000); do kill -9 $p 2>/dev/null; done; true")
    assert restarts(attacker.pod(), "dlaas-agent") == 0


async def test_its_neighbour_and_the_hub_are_unharmed(hostile_notebook: tuple[Visitor, Visitor]) -> None:
    _, neighbour = hostile_notebook
    status = await neighbour.status()
    assert all(audience["valid"] for audience in status["audiences"])
    printed, _ = await neighbour.jupyter().run("rucio whoami </dev/null")
    assert "user1" in printed
    (hub,) = get("pods", "-l", "app=hub")
    assert restarts(hub, "hub") == 0

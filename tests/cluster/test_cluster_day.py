"""One day of a scientist, through HTTP: the tests are its steps, in their order, while the cluster is disturbed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from cluster.kubectl import NAMESPACE, exists, get, kubectl
from cluster.lake import TOKEN_SECONDS
from cluster.people import GID, UID, Visitor, agent_tokens, on_node, restarts, until

ENVIRONMENT = "escape/astronomy"
DISTURBED_SECONDS = 3 * TOKEN_SECONDS + 10

pytestmark = pytest.mark.usefixtures("steps_so_far")
seen: dict[str, Any] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alice(visit: Callable[..., Any]) -> AsyncIterator[Visitor]:
    person = await visit("alice")
    person.scientist.person = type(person.scientist.person)("alice", "alice-pw", ENVIRONMENT)
    yield person
    await person.leave_nothing()


def agent_secret(pod: dict[str, Any]) -> str:
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "dlaas-credential"]
    return str(volume["secret"]["secretName"])


async def test_she_sees_the_environments_of_her_vo_and_groups(alice: Visitor) -> None:
    offered = await alice.scientist.options()
    assert ENVIRONMENT in offered
    assert "escape/particle-physics" in offered
    assert "ska/" not in offered


async def test_a_pod_starts_from_the_form(alice: Visitor, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    await alice.scientist.start()
    say(f"pod and JupyterLab after {time.monotonic() - began:.1f} s")
    seen["first"] = on_node(alice.pod(), "eos", "notebook", UID, GID)


async def test_the_agent_is_a_native_sidecar_that_meets_the_level_restricted(alice: Visitor) -> None:
    pod = alice.pod()
    agent = pod["spec"]["initContainers"][-1]
    assert (agent["name"], agent["restartPolicy"]) == ("dlaas-agent", "Always")
    security = agent["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["runAsNonRoot"]) == (UID, GID, True)
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert agent["resources"]["limits"]
    assert pod["spec"]["automountServiceAccountToken"] is False


async def test_the_credential_is_a_secret_of_the_pod_that_only_the_agent_mounts(alice: Visitor) -> None:
    pod = alice.pod()
    secret = get("secret", agent_secret(pod))
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Pod", pod["metadata"]["uid"])
    assert not owner.get("blockOwnerDeletion")
    containers = pod["spec"]["containers"] + pod["spec"]["initContainers"]
    mounting = [
        container["name"]
        for container in containers
        if any(mount["name"] == "dlaas-credential" for mount in container.get("volumeMounts", []))
    ]
    assert mounting == ["dlaas-agent"]


async def test_eos_accepts_the_token_file(alice: Visitor) -> None:
    """Rules 1 to 5, 8 and 9 of eosxd, from the host's view."""
    eos = on_node(alice.pod(), "eos", "notebook", UID, GID)
    assert eos["fields"] == ["oauth2", "iam.example.org/userinfo"]
    assert eos["bytes_besides_printable"] == 0
    assert eos["owner"] == eos["server_owner"] == UID
    assert eos["regular"]
    assert eos["mode"] in (0o600, 0o400)
    assert not eos["acl"]
    # `walk` in node_view.py has opened every component without following links, with the notebook's rights alone.
    assert re.fullmatch(r"/run/dlaas/[0-9a-f]{32}/eos/token", eos["path"])
    assert eos["variable"] == f"FILE:{eos['path']}"
    assert (eos["file_system"], eos["mount_point"]) == ("tmpfs", eos["path"].removesuffix("/eos/token"))
    assert "ro" in eos["mount_options"]
    assert not eos["outranking"]
    assert not eos["instead"]
    seen["path"] = eos["path"]


async def test_the_token_was_there_before_the_notebook() -> None:
    """Rule 5."""
    assert seen["first"]["written"] <= seen["first"]["started"]


async def test_the_eos_token_is_for_eos_and_alive(alice: Visitor) -> None:
    """Rule 10."""
    eos = on_node(alice.pod(), "eos", "notebook", UID, GID)
    assert "eos-eulake" in eos["audience"]
    assert "openid" in eos["scope"]
    assert eos["expires"] - eos["now"] > TOKEN_SECONDS / 4


async def test_the_parent_of_the_mount_is_mounted_and_propagates(alice: Visitor) -> None:
    """Rules 4 and 11, in the pod as the cluster has it."""
    pod = alice.pod()
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert volumes[mounts["/eos"]["name"]]["hostPath"] == {"path": "/var/xrootd", "type": "DirectoryOrCreate"}
    assert mounts["/eos"]["mountPropagation"] == "HostToContainer"
    assert mounts["/eos"]["readOnly"] is True
    assert volumes["dlaas-files"]["emptyDir"]["medium"] == "Memory"
    assert volumes["dlaas-files"]["emptyDir"]["sizeLimit"]
    (files,) = [mount for mount in mounts.values() if mount["name"] == "dlaas-files"]
    assert files["readOnly"] is True
    assert "subPath" not in files


async def test_what_the_administrator_set_is_there_too(alice: Visitor) -> None:
    assert alice.inside("echo $SET_BY_THE_ADMINISTRATOR; touch ~/kept && stat -c %u ~/kept").split() == [
        "yes",
        str(UID),
    ]


async def test_rucio_knows_her(alice: Visitor) -> None:
    assert await alice.scientist.whoami() == "account alice"


async def test_the_panel_finds_a_file_and_makes_it_available(alice: Visitor, say: Callable[[str], None]) -> None:
    say(await alice.scientist.find())
    say(await alice.scientist.make_available())


async def test_a_kernel_reads_it_through_the_fuse_mount(alice: Visitor) -> None:
    seen["file"] = alice.scientist._path
    kind = alice.inside(f"findmnt -n -o FSTYPE -T {seen['file']} || df --output=fstype {seen['file']}")
    assert "fuse" in kind
    await alice.scientist.read_file()


async def test_the_status_says_that_everything_is_well(alice: Visitor) -> None:
    status = await alice.status()
    assert {audience["audience"]: audience["valid"] for audience in status["audiences"]} == {
        "rucio": True,
        "eos-eulake": True,
    }
    assert {mount["name"]: mount["alive"] for mount in status["mounts"]} == {
        "eulake": True,
        "samples": True,
        "scratch": True,
    }


async def test_scratch_is_hers_and_writable(alice: Visitor) -> None:
    assert alice.inside("echo hers > /scratch/note && cat /scratch/note") == "hers"


async def test_a_fuse_daemon_that_was_killed_is_seen_again(alice: Visitor, say: Callable[[str], None]) -> None:
    (daemon,) = get("pods", "-l", "app.kubernetes.io/name=xrootdfs")
    assert on_node(daemon, "kill", "xrootdfs", "xrootdfs")["killed"]
    began = time.monotonic()

    def readable() -> bool:
        return alice.inside(f"head -c 6 {seen['file']} 2>/dev/null || true") == "SIMPLE"

    await until("the file system is gone", lambda: not readable() or _restarted(daemon), seconds=30, say=say)
    await until("the file is there again", readable, seconds=120, say=say)
    say(f"read again after {time.monotonic() - began:.1f} s")
    await alice.scientist.read_file()


def _restarted(daemon: dict[str, Any]) -> bool:
    now = get("pods", "-l", "app.kubernetes.io/name=xrootdfs")
    return any(restarts(pod, "xrootdfs") > restarts(daemon, "xrootdfs") for pod in now)


async def test_a_fuse_pod_that_was_replaced_is_seen_again(alice: Visitor, say: Callable[[str], None]) -> None:
    kubectl("delete", "pods", "-l", "app.kubernetes.io/name=xrootdfs", "--wait=true")
    began = time.monotonic()
    await until(
        "the file is there again",
        lambda: alice.inside(f"head -c 6 {seen['file']} 2>/dev/null || true") == "SIMPLE",
        seconds=120,
        say=say,
    )
    say(f"read again after {time.monotonic() - began:.1f} s")


async def test_a_replaced_hub_and_a_killed_agent_are_not_noticed_through_three_token_lifetimes(
    alice: Visitor, again: Callable[..., float], say: Callable[[str], None]
) -> None:
    """Rules 6, 7 and 10: the token is read all the time, and is always there, whole and alive."""
    before = alice.pod()
    watched = asyncio.create_task(
        asyncio.to_thread(on_node, before, "watch", "notebook", UID, GID, DISTURBED_SECONDS, seconds=300)
    )
    await pause(20, say)
    assert on_node(before, "kill", "dlaas-agent")["killed"]
    say("the agent is killed")
    await until(
        "the agent runs again", lambda: restarts(alice.pod(), "dlaas-agent") > restarts(before, "dlaas-agent"), say=say
    )
    await pause(20, say)
    await asyncio.to_thread(kubectl, "delete", "pod", "-l", "app=hub", "--wait=true")
    say("the hub's pod is deleted")
    say(f"a new hub answers after {await asyncio.to_thread(again, 'deployment/hub'):.1f} s")
    await pause(0, say, until=watched)
    seen_by_node = await watched
    say(str(seen_by_node))
    assert seen_by_node["reads"] > 1000
    assert not seen_by_node["missing"]
    assert not seen_by_node["broken"]
    assert not seen_by_node["expired"]
    assert not seen_by_node["renewals_with_the_same_time"]
    assert seen_by_node["renewals"] >= 4
    after = alice.pod()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert restarts(after, "notebook") == 0


async def test_she_works_on_as_before(alice: Visitor) -> None:
    assert await alice.scientist.whoami() == "account alice"
    await alice.scientist.find()
    await alice.scientist.make_available()
    await alice.scientist.read_file()


async def test_the_new_hub_knows_her_server_and_its_tokens(alice: Visitor) -> None:
    assert "" in await alice.servers()
    status = await alice.status()
    assert status["environment"] == ENVIRONMENT
    assert {audience["audience"]: audience["valid"] for audience in status["audiences"]} == {
        "rucio": True,
        "eos-eulake": True,
    }


async def test_a_stop_leaves_no_pod_no_secret_and_no_token(alice: Visitor) -> None:
    secret = agent_secret(alice.pod())
    await alice.stop()
    await nothing_is_left(alice, secret)


async def test_the_next_start_has_another_path_and_another_secret(alice: Visitor) -> None:
    """Rule 8."""
    await alice.start(ENVIRONMENT)
    assert on_node(alice.pod(), "eos", "notebook", UID, GID)["path"] != seen["path"]
    assert alice.inside("cat /scratch/note ; ls ~/kept").split() == ["hers", "/home/jovyan/kept"]


async def test_a_pod_deleted_behind_the_hubs_back_leaves_nothing(alice: Visitor) -> None:
    pod = alice.pod()
    kubectl("delete", "pod", pod["metadata"]["name"], "--wait=true")
    await nothing_is_left(alice, agent_secret(pod))


async def test_a_pod_evicted_from_its_node_leaves_nothing(alice: Visitor) -> None:
    """As `kubectl drain` does it."""
    await alice.start(ENVIRONMENT)
    pod = alice.pod()
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), namespace=None)
    await until("the pod's end", lambda: not alice.pods())
    await nothing_is_left(alice, agent_secret(pod))


async def nothing_is_left(alice: Visitor, secret: str) -> None:
    await until("the hub notices the end", lambda: gone(alice), seconds=60)
    await until("the Secret is collected", lambda: not exists("secret", secret), seconds=60)
    assert not alice.pods()
    assert not agent_tokens("alice")


async def gone(alice: Visitor) -> bool:
    return not await alice.servers()


async def pause(
    seconds: float, say: Callable[[str], None], *, until: asyncio.Task[Any] | None = None, every: float = 8
) -> None:
    """Lets time pass, or waits for a task, with a line every 8 s."""
    began = time.monotonic()
    while not until.done() if until else time.monotonic() - began < seconds:
        left = seconds - (time.monotonic() - began)
        if until:
            await asyncio.wait([until], timeout=every)
        else:
            await asyncio.sleep(min(every, left))
        say(f"{time.monotonic() - began:.0f} s of the tokens' lives")

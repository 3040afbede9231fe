"""Environments of the catalogue as pods: Pod Security levels, storages that are not there, progress in words."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from cluster import leaks
from cluster.kubectl import NAMESPACE, get, kubectl
from cluster.people import Visitor, on_node
from jupyterhub_dlaas.demo.check.web import Failed

LEVEL = "pod-security.kubernetes.io/enforce"


@pytest_asyncio.fixture(loop_scope="session")
async def alice(visit: Callable[..., Any]) -> AsyncIterator[Visitor]:
    person = await visit("alice")
    await person.leave_nothing()
    yield person
    await person.leave_nothing()


@pytest.fixture
def enforced(request: pytest.FixtureRequest) -> Any:
    """The namespace admits new pods only at the level of the test's parameter."""
    level = request.param
    kubectl("label", "namespace", NAMESPACE, "--overwrite", f"{LEVEL}={level}", namespace=None)
    yield level
    kubectl("label", "namespace", NAMESPACE, "--overwrite", f"{LEVEL}=privileged", namespace=None)


@pytest.mark.parametrize("enforced", ["baseline", "restricted"], indirect=True)
async def test_an_environment_without_mounts_runs_where_the_level_is_enforced(alice: Visitor, enforced: str) -> None:
    await alice.start(f"escape/{enforced}")
    printed, _ = await alice.jupyter().run("rucio whoami </dev/null")
    assert "alice" in printed


@pytest.mark.parametrize("enforced", ["baseline"], indirect=True)
async def test_a_pod_that_the_level_forbids_is_refused_in_words(alice: Visitor, enforced: str) -> None:
    with pytest.raises(Failed, match=r"(?i)hostPath"):
        await alice.start("escape/astronomy")
    assert not alice.pods()
    names = [secret["metadata"]["name"] for secret in get("secrets")]  # no more than names: a failure prints them
    assert not [name for name in names if name.startswith("jupyter-alice")]


async def test_a_storage_that_is_not_there_is_said_and_keeps_nobody_from_starting(alice: Visitor) -> None:
    messages = await alice.start("escape/absent")
    said = next(message for message in messages if "absent" in message)
    assert "not" in said
    (mount,) = (await alice.status())["mounts"]
    assert not mount["alive"]
    assert mount["problem"]
    printed, _ = await alice.jupyter().run("datalake status")
    assert "absent" in printed


async def test_a_required_storage_that_is_not_there_refuses_the_start_in_words(alice: Visitor) -> None:
    with pytest.raises(Failed, match="needed"):
        await alice.start("escape/needed")
    assert not [pod for pod in alice.pods() if "deletionTimestamp" not in pod["metadata"]]


async def test_progress_tells_kubernetes_events_and_ours_in_words(alice: Visitor) -> None:
    messages = await alice.start("escape/astronomy")
    text = "\n".join(messages)
    assert "Access to rucio until" in text
    assert "Access to eos-eulake until" in text
    assert "eulake" in text
    assert any("node" in message or "image" in message.lower() for message in messages), text


async def test_the_agent_stays_small(alice: Visitor) -> None:
    await alice.start("escape/astronomy")
    resident = sum(process["resident_bytes"] for process in on_node(alice.pod(), "processes", "dlaas-agent"))
    assert 0 < resident <= 24 * 2**20, f"{resident / 2**20:.1f} MiB"


def test_the_hub_may_do_what_it_needs_and_no_more() -> None:
    who = f"--as=system:serviceaccount:{NAMESPACE}:hub"
    rows = [re.split(r"\s{2,}", row) for row in kubectl("auth", "can-i", "--list", "--no-headers", who).splitlines()]
    rights = {row[0]: set(row[-1].strip("[]").split()) for row in rows if "." not in row[0] and row[0].strip()}
    assert rights.keys() == {"pods", "persistentvolumeclaims", "secrets", "events"}
    assert rights["pods"] == {"get", "list", "watch", "create", "delete"}
    assert rights["events"] <= {"get", "list", "watch"}
    assert rights["secrets"] <= {"create", "delete"}
    assert not {"patch", "update", "deletecollection", "*"} & set().union(*rights.values())


async def test_a_planted_token_is_found(alice: Visitor) -> None:
    """The look for leaks after every test would see one."""
    await alice.start("escape/baseline")
    (secret,) = [secret for secret in get("secrets") if "-dlaas-" in secret["metadata"]["name"]]
    assert not leaks.look().found
    token = kubectl("get", "secret", secret["metadata"]["name"], "-o", "jsonpath={.data.token}")
    planted = {"metadata": {"annotations": {"planted": base64.b64decode(token).decode()}}}
    name = alice.pod()["metadata"]["name"]
    kubectl("patch", "pod", name, "-p", json.dumps(planted))
    try:
        found = leaks.look().found
        assert any(place.startswith("pods") for place in found)
        assert any(place.startswith("describe") for place in found)
    finally:
        kubectl("annotate", "pod", name, "planted-")

"""The hub while Kubernetes' API server is slow, busy or away: starts wait or say why, and servers that run stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from cluster.kubectl import ask_inside, exists, get, kubectl
from cluster.lake import TOKEN_SECONDS
from cluster.people import GID, UID, Visitor, agent_tokens, on_node, until
from jupyterhub_dlaas.demo.check.web import Failed

ENVIRONMENT = "escape/astronomy"
AWAY_SECONDS = 60
POD, CREDENTIAL = r"^POST .*/pods$", r"^POST .*/secrets$"


def set_faults(*faults: dict[str, Any]) -> list[dict[str, Any]]:
    """What the API server does wrong from now on; returns what is left of the faults before."""
    return list(ask_inside("deployment/api-server", "PUT", "http://127.0.0.1:8081/faults", faults))


def have_api_servers(number: int, again: Callable[..., float]) -> None:
    kubectl("scale", "deployment/api-server", f"--replicas={number}")
    again("deployment/api-server")
    if not number:
        kubectl("wait", "pod", "-l", "app=api-server", "--for=delete", "--timeout=60s")


@pytest.fixture(scope="module")
def asked_by_the_hub(lake: object, again: Callable[..., float]) -> Iterator[None]:
    """The hub asks the API server that has bad days; afterwards the cluster's own again."""

    def ask(url: str) -> None:
        kubectl("set", "env", "deployment/hub", f"API_SERVER={url}")
        again("deployment/hub")

    have_api_servers(1, again)
    ask("http://api-server:8080")
    yield
    ask("")


@pytest_asyncio.fixture(loop_scope="session")
async def user0(visit: Callable[..., Any], asked_by_the_hub: None) -> AsyncIterator[Visitor]:
    """Somebody without a server, while nothing goes wrong."""
    set_faults()
    person: Visitor = await visit("user0")
    await person.leave_nothing()
    yield person
    set_faults()
    await person.leave_nothing()


async def works(person: Visitor) -> None:
    printed, _ = await person.jupyter().run("rucio whoami </dev/null")
    assert person.name in printed


def secrets_of(pod: dict[str, Any]) -> list[str]:
    owned = (secret["metadata"] for secret in get("secrets"))
    uid = pod["metadata"]["uid"]
    return [data["name"] for data in owned if any(owner["uid"] == uid for owner in data.get("ownerReferences", []))]


async def test_a_slow_one_makes_a_start_longer(user0: Visitor) -> None:
    set_faults({"pattern": "^(POST|DELETE) ", "seconds": 2, "times": 100})
    await user0.start(ENVIRONMENT)
    await works(user0)
    await user0.stop()
    assert set_faults()[0]["times"] <= 97  # pod, Secret, and the pod's end


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_one_is_asked_again(user0: Visitor, status: int) -> None:
    set_faults(*({"pattern": request, "status": status, "times": 2} for request in (POD, CREDENTIAL)))
    await user0.start(ENVIRONMENT)
    assert [fault["times"] for fault in set_faults()] == [0, 0]
    await works(user0)


async def test_what_it_did_although_its_answer_was_lost_is_not_done_twice(user0: Visitor) -> None:
    """Asked again, the real one says 409."""
    set_faults(*({"pattern": request, "lost": True, "times": 1} for request in (POD, CREDENTIAL)))
    await user0.start(ENVIRONMENT)
    assert [fault["times"] for fault in set_faults()] == [0, 0]
    assert len(secrets_of(user0.pod())) == 1
    await works(user0)


async def test_a_start_that_fails_for_it_says_so_and_leaves_nothing_in_the_end(
    user0: Visitor, say: Callable[[str], None]
) -> None:
    set_faults(*({"pattern": request, "status": 503} for request in (CREDENTIAL, "^DELETE .*/pods/")))
    with pytest.raises(Failed, match=r"Kubernetes did not answer for 30 seconds \(a bad day\)\. Try again in a minute"):
        await user0.start(ENVIRONMENT)
    assert user0.pods()
    assert not agent_tokens("user0")
    set_faults()
    await until("the pod goes", lambda: not user0.pods(), seconds=60, say=say)


async def test_a_minute_without_one_is_not_noticed_even_if_the_hub_is_replaced_meanwhile(
    user0: Visitor, visit: Callable[..., Any], again: Callable[..., float], say: Callable[[str], None]
) -> None:
    await user0.start(ENVIRONMENT)
    pod = user0.pod()
    (secret,) = secrets_of(pod)

    def expires() -> float:
        return float(on_node(pod, "eos", "notebook", UID, GID)["expires"])

    async def renewed() -> None:
        before = expires()
        await until("the token is renewed", lambda: expires() > before, seconds=2 * TOKEN_SECONDS, every=2, say=say)

    have_api_servers(0, again)
    try:
        began = time.monotonic()
        say("the API server is away")
        late = await visit("user1")
        with pytest.raises(Failed, match=r"Kubernetes did not answer or create the server's pod\. Try again"):
            await late.start(ENVIRONMENT)
        await renewed()
        await asyncio.sleep(max(0.0, began + AWAY_SECONDS - time.monotonic()))
        await works(user0)

        kubectl("delete", "pod", "-l", "app=hub", "--wait=true")
        say(f"a new hub answers after {again('deployment/hub'):.1f} s")
        await renewed()
        await works(user0)
        assert (await user0.servers())[""]["ready"]
    finally:
        have_api_servers(1, again)
    say("the API server is there again")
    assert user0.pod()["metadata"]["uid"] == pod["metadata"]["uid"]
    await works(user0)
    await user0.stop()
    await until("the Secret is collected", lambda: not exists("secret", secret), say=say)
    assert not agent_tokens("user0")
    await late.start(ENVIRONMENT)
    await works(late)
    await late.stop()

"""The pins of agent tokens, the limits, and the wire form of a bundle."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterhub_dlaas.bundle.files import BundleFile
from jupyterhub_dlaas.bundle.mounts import Mount, MountState
from jupyterhub_dlaas.bundle.token import TokenState, Trouble
from jupyterhub_dlaas.hub.agents import AgentRegistry
from jupyterhub_dlaas.hub.bundles import ask_again_seconds, compose
from jupyterhub_dlaas.hub.limits import TokenBucket
from jupyterhub_dlaas.oidc.clock import ManualClock
from jupyterhub_dlaas.oidc.secret import Secret

NOW = 1_700_000_000.0


def server(name: str = "", *, user: int = 1, active: bool = True) -> Any:
    return SimpleNamespace(user=SimpleNamespace(id=user, name=f"user{user}"), name=name, active=active)


def state(expires: float | None = NOW + 100, problem: Trouble | None = None) -> TokenState:
    return TokenState("rucio", Secret("secret") if expires else None, expires, NOW, problem)


def test_a_pinned_token_leads_to_its_server() -> None:
    agents, one, two = AgentRegistry(), server("one"), server("two")
    agents.adopt(one, 1, "hash")
    agents.adopt(two, 2, "hash")
    assert agents.lookup(1) is one
    assert agents.lookup(2) is two
    assert agents.lookup(3) is None


def test_the_token_of_a_server_that_does_not_run_leads_nowhere() -> None:
    agents, one = AgentRegistry(), server("one")
    agents.adopt(one, 1, "hash")
    one.active = False
    assert agents.lookup(1) is None


def test_a_new_pin_ends_the_one_before_the_restart() -> None:
    agents = AgentRegistry()
    agents.adopt(server("one"), 1, "hash")
    agents.adopt(again := server("one"), 2, "hash")
    assert agents.lookup(1) is None
    assert agents.lookup(2) is again


def test_the_same_server_name_of_another_user_is_another_server() -> None:
    agents = AgentRegistry()
    agents.adopt(mine := server("one", user=1), 1, "hash")
    agents.adopt(theirs := server("one", user=2), 2, "hash")
    assert (agents.lookup(1), agents.lookup(2)) == (mine, theirs)


def test_only_a_report_that_says_something_new_changes_the_bundle() -> None:
    agents, one = AgentRegistry(), server("one")
    running = agents.adopt(one, 1, "hash")
    mount = MountState("eulake", "/eos", True, "", NOW)
    assert agents.report(one, mounts=[mount])
    assert not agents.report(one, mounts=[mount], files=7)
    assert running.generation == 1


def test_a_bucket_lets_a_burst_through_and_then_a_stream() -> None:
    bucket = TokenBucket(per_second=2, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(0.5) == 0


def rendered(states: dict[str, TokenState], required: tuple[str, ...] = ()) -> Any:
    files = [BundleFile("tokens/rucio", 0o600, b"secret"), BundleFile("cache.db", 0o600, b"\0", "once", "cache")]
    return compose(("key",), files, [Mount("eulake", "/eos")], states, required=required, now=NOW)


def test_the_wire_form_is_what_the_agent_reads() -> None:
    assert json.loads(rendered({"rucio": state()}).body(44.04)) == {
        "version": 1,
        "ask_again_seconds": 44.0,
        "ready": True,
        "not_ready_because": "",
        "files": [
            {"root": "files", "path": "tokens/rucio", "mode": "0600", "when": "always", "content": b64(b"secret")},
            {"root": "cache", "path": "cache.db", "mode": "0600", "when": "once", "content": b64(b"\0")},
        ],
        "mounts": [{"name": "eulake", "path": "/eos", "required": False}],
    }


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_the_etag_does_not_depend_on_when_to_ask_again() -> None:
    one, two = rendered({"rucio": state()}), rendered({"rucio": state()})
    assert one.etag == two.etag
    assert one.body(1.0) != one.body(2.0)


def test_a_bundle_is_good_until_its_first_token_expires() -> None:
    assert rendered({"rucio": state(NOW + 100), "eos": state(NOW + 50)}).good_until == NOW + 50


def test_without_a_required_token_the_bundle_is_not_ready_and_says_why() -> None:
    refused = state(None, Trouble("no_entitlement", "Not a member of ESCAPE.", NOW))
    document = json.loads(rendered({"rucio": refused}, required=("rucio",)).body(1.0))
    assert (document["ready"], document["not_ready_because"]) == (False, "rucio: Not a member of ESCAPE.")


@pytest.mark.parametrize(
    ("due", "seconds"),
    [(NOW + 10, 11), (NOW + 1000, 45), (float("inf"), 45), (NOW, 10), (NOW - 500, 10), (NOW + 0.1, 2)],
)
def test_the_agent_asks_just_after_the_next_renewal_and_at_least_every_45_seconds(due: float, seconds: float) -> None:
    dlaas = SimpleNamespace(
        config=SimpleNamespace(agent_poll_seconds=45.0),
        clock=ManualClock(NOW),
        keeper=SimpleNamespace(next_due=lambda name: due),
    )
    assert ask_again_seconds(dlaas, "alice", rendered({"rucio": state()})) == pytest.approx(seconds)

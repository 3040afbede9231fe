"""The look for leaked secrets that follows every test would find one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.leaks import Leaks, LogReader, children
from support.scene import Scene

from jupyterhub_dlaas.demo.iam import StandInIAM

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT_TOKEN = "0123456789abcdef0123456789abcdef"


@contextmanager
def process(arguments: list[str], environment: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, "-c", "print(flush=True); input()", *arguments]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield
        running.kill()


@pytest.fixture(params=["an IAM token", "an agent's token"])
def planted(request: pytest.FixtureRequest) -> str:
    return AGENT_TOKEN if request.param == "an agent's token" else StandInIAM().log_in("alice")["access_token"]


async def test_a_token_planted_in_a_log_is_found(planted: str, tmp_path: Path) -> None:
    leaks, logs = Leaks([AGENT_TOKEN]), LogReader()
    (tmp_path / "hub.log").write_text("a line\n")
    logs.look(leaks, tmp_path)
    assert not leaks.found
    with (tmp_path / "hub.log").open("a") as log:
        log.write(f"GET /?token={planted}\n")
    logs.look(leaks, tmp_path)
    assert len(leaks.found) == 1
    assert planted not in leaks.found[0]


async def test_a_token_planted_in_an_environment_is_found(planted: str) -> None:
    leaks = Leaks([AGENT_TOKEN])
    with process([], {"BEARER_TOKEN": planted, "JUPYTERHUB_API_TOKEN": AGENT_TOKEN}):
        leaks.processes(children())
    assert [place.partition(" of")[0] for place in leaks.found] == ["environment"]


async def test_a_token_planted_in_an_argument_is_found(planted: str) -> None:
    leaks = Leaks([AGENT_TOKEN])
    with process([planted], {}):
        leaks.processes(children())
    assert [place.partition(" of")[0] for place in leaks.found] == ["arguments"]


async def test_jupyterhubs_own_tokens_are_let_through_by_name() -> None:
    leaks = Leaks([AGENT_TOKEN])
    with process([], {"JUPYTERHUB_API_TOKEN": AGENT_TOKEN, "CONFIGPROXY_AUTH_TOKEN": AGENT_TOKEN}):
        leaks.processes(children())
    assert not leaks.found
    assert leaks.looked_at


async def test_a_running_server_and_its_agent_are_looked_at(lake: Scene) -> None:
    _, server = await lake.working()
    looked_at = set(children())
    assert {server.spawner.pid, server.spawner._agent.pid} <= looked_at
    leaks = Leaks([server.agent_token])
    leaks.processes(looked_at)
    assert leaks.looked_at >= 4
    assert not leaks.found


async def test_the_hubs_database_holds_no_readable_token(lake: Scene) -> None:
    person, server = await lake.working()
    content = (lake.folder / "hub.sqlite").read_bytes()
    for secret in (server.agent_token, person.held("rucio") or "", (await person.auth_state())["refresh_token"]):
        assert secret
        assert secret.encode() not in content

"""Starting, watching and stopping the parts of the demo; what it remembers."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from jupyterhub_dlaas.catalogue.grants import exceeds, parse_grants
from jupyterhub_dlaas.catalogue.load import parse
from jupyterhub_dlaas.demo import hub, state, supervisor
from jupyterhub_dlaas.demo.state import DemoError
from jupyterhub_dlaas.demo.supervisor import Part, Supervisor

SERVER = """
import http.server, subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("grandchild", grandchild.pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def part(folder: Path, code: str, *arguments: str, url: str = "", ready_line: str = "", limit: float = 20) -> Part:
    return Part("Thing", [sys.executable, "-c", code, *arguments], os.environ, folder, url, ready_line, limit)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def running(tmp_path: Path, said: list[str]) -> AsyncIterator[Supervisor]:
    supervising = Supervisor(tmp_path, said.append, every_seconds=0.2, restarts=1)
    yield supervising
    await supervising.stop()


async def test_a_part_is_ready_when_its_address_answers(running: Supervisor, tmp_path: Path) -> None:
    port = free_port()
    await running.start(part(tmp_path, SERVER, str(port), url=f"http://127.0.0.1:{port}/"))
    assert await supervisor.answers(f"http://127.0.0.1:{port}/")


async def test_stopping_leaves_no_process_even_one_in_its_own_session(running: Supervisor, tmp_path: Path) -> None:
    port = free_port()
    thing = part(tmp_path, SERVER, str(port), url=f"http://127.0.0.1:{port}/")
    await running.start(thing)
    grandchild = int(running.log(thing).read_text().split()[1])
    await running.stop()
    assert not psutil.pid_exists(grandchild)
    assert not await supervisor.answers(f"http://127.0.0.1:{port}/")


async def test_a_failed_part_is_named_with_the_end_of_its_log(running: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"Thing ended with code 3(.|\n)*no disk left"):
        await running.start(part(tmp_path, "print('no disk left'); raise SystemExit(3)", ready_line="ready"))


async def test_a_part_that_is_never_ready_is_given_up(running: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"Thing was not ready after 0\.3 s"):
        await running.start(part(tmp_path, "import time; time.sleep(60)", ready_line="ready", limit=0.3))


async def test_waiting_is_said_again_and_again(running: Supervisor, tmp_path: Path, said: list[str]) -> None:
    code = "import time; print('step one', flush=True); time.sleep(0.9); print('ready', flush=True); time.sleep(60)"
    await running.start(part(tmp_path, code, ready_line="ready"))
    assert sum("step one" in line for line in said) >= 2


async def test_a_job_is_done_when_it_ends(running: Supervisor, tmp_path: Path, said: list[str]) -> None:
    await running.start(part(tmp_path, "pass"))
    assert "done" in said[-1]


async def test_a_part_that_dies_is_started_again_and_named_when_it_keeps_dying(
    running: Supervisor, tmp_path: Path, said: list[str]
) -> None:
    await running.start(part(tmp_path, "import time; print('ready', flush=True); time.sleep(0.3)", ready_line="ready"))
    with pytest.raises(DemoError, match="Thing ended 2 times"):
        await asyncio.wait_for(running.watch(), 15)
    assert any("started again" in line for line in said)


def test_ports_and_secrets_are_the_same_at_the_second_start(tmp_path: Path) -> None:
    first, second = state.remember(tmp_path), state.remember(tmp_path)
    assert (first.ports, first.secrets) == (second.ports, second.secrets)
    assert (first.new, second.new) == (True, False)


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    before = state.remember(tmp_path).ports["iam"]
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", before))
        thief.listen()
        assert state.remember(tmp_path).ports["iam"] != before


def test_a_wished_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(DemoError, match="used by another program"):
            state.remember(tmp_path, other.getsockname()[1])


def test_all_ports_differ() -> None:
    assert len(set(state.choose_ports({}).values())) == len(state.PORTS)


def test_the_settings_are_closed_to_others(tmp_path: Path) -> None:
    state.remember(tmp_path)
    assert (tmp_path / "demo.json").stat().st_mode & 0o777 == 0o600


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with state.locked(tmp_path), pytest.raises(DemoError, match="Another demo"), state.locked(tmp_path):
        pass


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> state.State:
    monkeypatch.setattr(hub, "find_proxy", lambda: ["node", "proxy"])
    made = state.remember(tmp_path)
    hub.write(made, "http://127.0.0.1:1/", "secret")
    return made


def test_the_catalogues_stay_within_what_the_configuration_grants(written: state.State) -> None:
    text = (written.hub / "jupyterhub_config.py").read_text()
    grants = parse_grants(eval(text.partition("c.DLaaSConfig.vos = ")[2].partition("\n}\n")[0] + "\n}"))
    for vo in ("escape", "ska"):
        path = written.hub / "catalogue.d" / f"{vo}.yaml"
        assert exceeds(parse(path.read_text(), str(path)), grants[vo]) == []


def test_the_default_folder_in_somebodys_home_makes_valid_catalogues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_proxy", lambda: ["node", "proxy"])
    ports = dict.fromkeys(state.PORTS, 4711)
    at_home = state.State(Path("/home/ada/.local/share/dlaas-demo"), ports, {}, new=True)
    for vo in ("escape", "ska"):
        assert parse(hub.render(f"{vo}.yaml", hub.values(at_home, "http://127.0.0.1:1/")), vo).vo == vo


def test_a_changed_catalogue_is_left_alone(written: state.State) -> None:
    path = written.hub / "catalogue.d" / "escape.yaml"
    path.write_text("changed: true")
    hub.write(written, "http://127.0.0.1:1/", "secret")
    assert path.read_text() == "changed: true"


def test_a_changed_catalogue_that_has_to_be_written_anew_is_kept_beside_it(written: state.State) -> None:
    path = written.hub / "catalogue.d" / "escape.yaml"
    path.write_text("vo: escape\n")
    moved = dataclasses.replace(written, ports={**written.ports, "rucio": 1})
    kept = hub.write(moved, "http://127.0.0.1:1/", "secret")[0]
    assert kept.read_text() == "vo: escape\n"
    assert "EULAKE-1" in path.read_text()


def test_the_configuration_holds_no_secret(written: state.State) -> None:
    text = (written.hub / "jupyterhub_config.py").read_text()
    assert not [name for name, value in written.secrets.items() if value in text]


def test_users_servers_inherit_none_of_the_starters_credentials(written: state.State) -> None:
    base = {"BEARER_TOKEN": "x", "RUCIO_CONFIG": "/x", "X509_USER_PROXY": "/p", "OAUTH2_TOKEN": "y", "LANG": "C"}
    assert not set(hub.environment(written, base)) & (set(base) - {"LANG"})


def test_a_missing_proxy_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemoError, match="configurable-http-proxy") as refused:
        hub.find_proxy()
    assert "npm install" in refused.value.hint

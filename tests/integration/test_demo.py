"""The whole demo as a person starts it: processes, real Rucio, real hub. One demo for all tests, with short tokens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from rucio.client import Client
from support.leaks import Leaks

from jupyterhub_dlaas.demo.check.web import Browser
from jupyterhub_dlaas.demo.lake.config import MOUNTED_RSE, REMOTE_RSE, Lake
from jupyterhub_dlaas.demo.lake.copying import checksum
from jupyterhub_dlaas.demo.parts import lake
from jupyterhub_dlaas.demo.state import State, remember

TOKEN_SECONDS = 30


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`dlaas demo` until its end; it has printed its address when this enters."""
    command = [sys.executable, "-m", "jupyterhub_dlaas.demo.command", "--state", str(folder), *options]
    log = folder.with_suffix(".out")
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while "Ctrl-C stops everything" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def state_of(folder: Path) -> State:
    """What a running demo has written down (ports are read, not chosen anew)."""
    known = json.loads((folder / "demo.json").read_text())
    return State(folder, known["ports"], known["secrets"], new=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d") / "s"


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[State]:
    with demo(folder, "--token-seconds", str(TOKEN_SECONDS)):
        yield state_of(folder)


@pytest.fixture(scope="module")
def administrator(running: State) -> Client:
    """Rucio's root, as `RUCIO_CONFIG=... rucio` would be."""
    there = lake(running)
    return Client(
        rucio_host=there.url,
        auth_host=there.url,
        account="root",
        auth_type="userpass",
        creds={"username": "ddmlab", "password": there.root_password},
    )


def settled(client: Client, rule: str, seconds: float = 60) -> dict[str, object]:
    """The rule once it is no longer replicating."""
    deadline = time.monotonic() + seconds
    while True:
        found = dict(client.get_replication_rule(rule))
        if found["state"] != "REPLICATING" or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def files_of(there: Lake, rse: str, name: str) -> list[Path]:
    (folder,) = (site.folder for site in there.sites if site.rse == rse)
    return list(folder.rglob(name))


def test_a_scientists_day(running: State) -> None:
    module = "jupyterhub_dlaas.demo.check"
    command = [sys.executable, "-m", module, "--url", running.url("hub"), "--token-seconds", str(TOKEN_SECONDS)]
    played = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "all 17 steps" in played.stdout


def test_a_rule_is_ok_only_with_the_same_bytes_on_the_other_side(running: State, administrator: Client) -> None:
    there = lake(running)
    did = {"scope": "skao", "name": "sources_560MHz.csv"}
    (rule,) = administrator.add_replication_rule([did], 1, MOUNTED_RSE)
    assert settled(administrator, rule)["state"] == "OK"
    ((copied,), (source,)) = (files_of(there, rse, did["name"]) for rse in (MOUNTED_RSE, REMOTE_RSE))
    assert copied.read_bytes() == source.read_bytes()


def test_a_corrupt_source_is_stuck_and_never_ok(running: State, administrator: Client) -> None:
    there = lake(running)
    did = {"scope": "lhc.opendata", "name": "dimuon_2012_B.csv"}
    (source,) = files_of(there, REMOTE_RSE, did["name"])
    good, right = source.read_bytes(), checksum(source)
    source.write_bytes(b"x" + good[1:])
    try:
        (rule,) = administrator.add_replication_rule([did], 1, MOUNTED_RSE)
        assert settled(administrator, rule)["state"] == "STUCK"
    finally:
        source.write_bytes(good)
    assert checksum(source) == right


async def test_somebody_in_no_vo_is_told_so(running: State) -> None:
    async with Browser(running.url("hub")) as browser:
        page = await browser.open("/hub/login")
        page = await browser.open(next(link for link in page.links if "oauth_login" in link))
        form = page.forms[0]
        page = await browser.submit(page, form, **{form.text: "carol", form.password: "carol-pw"})
        if not page.url.startswith(browser.home):
            page = await browser.submit(page, page.forms[0], **dict(page.forms[0].buttons[:1]))
        page = await browser.open("/hub/spawn")
        assert "none of the groups" in page.text


def test_the_end_leaves_no_process_and_the_next_start_finds_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with demo(folder) as process:
        first = state_of(folder)
        below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 5
    assert not [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    (folder / "hub" / "catalogue.d" / "ska.yaml").write_text("vo: ska\n")
    with demo(folder):
        assert state_of(folder).ports == first.ports
        assert "making Rucio's database" in (folder / "logs" / "rucio's-data.log").read_text()
        assert (folder / "hub" / "catalogue.d" / "ska.yaml").read_text() == "vo: ska\n"


def test_a_part_that_cannot_start_is_named_with_its_log(tmp_path: Path) -> None:
    state = remember(tmp_path)
    (tmp_path / "hub" / "jupyterhub.sqlite").write_text("not a database" * 100)
    command = [sys.executable, "-m", "jupyterhub_dlaas.demo.command", "--state", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, env=os.environ)
    assert ended.returncode == 1
    assert "JupyterHub ended with code 1. The last lines of its log" in ended.stderr
    assert "not a database" in ended.stderr
    assert state.ports


def test_no_token_is_in_any_log_environment_or_argument(running: State) -> None:
    leaks = Leaks(secrets=["dlaas-secret"])
    for path in running.folder.rglob("*.log*"):
        leaks.text(str(path), path.read_text(errors="replace"))
    leaks.processes(child.pid for child in psutil.Process().children(recursive=True))
    assert leaks.looked_at > 10
    assert not leaks.found

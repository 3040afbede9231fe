"""The lab itself: what it prints, where it listens, and that stopping it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from storage.commands import run
from storage.lab import running
from storage.layout import Layout
from storage.mount import is_mounted
from storage.plane import Lab, temporary_folder


class Own:
    """A lab of a test's own, started as a person does it; `elsewhere` is where it could leave something behind."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.elsewhere = folder / "lab", folder / "elsewhere"
        self.elsewhere.mkdir()
        tests = str(Path(__file__).parents[1])
        places = {name: str(self.elsewhere) for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME")}
        self.environment = {**os.environ, **places, "PYTHONPATH": tests, "PYTHONDONTWRITEBYTECODE": "1"}

    def lab(self, *args: str) -> tuple[int, str]:
        done = run(sys.executable, "-m", "storage.lab", *args, "--folder", self.folder, env=self.environment)
        return done.code, done.out + done.err

    def processes(self) -> list[str]:
        """Every process that has something to do with the folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            place = process.info["cwd"] or ""
            if str(self.folder) in " ".join([place, *(process.info["cmdline"] or [])]):
                found.append(" ".join(process.info["cmdline"] or [place]))
        return found

    def left(self) -> list[object]:
        """What is still there."""
        there: list[object] = [*self.processes(), *self.elsewhere.iterdir()]
        there += [self.folder] if self.folder.exists() else []
        there += [path for path in self.folder.parent.iterdir() if path not in (self.folder, self.elsewhere)]
        return there + [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.folder) in line]


@pytest.fixture
def own() -> Iterator[Own]:
    folder = temporary_folder()
    lab = Own(folder)
    yield lab
    lab.lab("down")
    subprocess.run(["rm", "-r", str(folder)], check=True)


def test_a_lab_that_is_stopped_leaves_nothing(own: Own) -> None:
    code, text = own.lab("up", "--background")
    assert code == 0, text
    assert "SITE-A is mounted at" in text and len(own.processes()) > 10
    code, text = own.lab("up", "--background")
    assert code == 1 and "runs in" in text
    own.lab("down")
    assert own.left() == []


def test_what_it_says_can_be_typed(own: Own) -> None:
    _, text = own.lab("up", "--background")
    scientist, administrator, storage = (part.splitlines() for part in text.split("\n\n")[-5:-2])
    lines = [line.partition("    (or")[0].strip() for line in scientist[1:]]
    assert [line.split()[:2] for line in lines[-2:]] == [["datalake", "upload"], ["datalake", "path"]]
    done = run("bash", "-ec", "\n".join(lines), env=own.environment)
    assert done.code == 0, done.err
    assert Path(done.out.splitlines()[-1]).is_relative_to(Layout(own.folder).mount)
    for line in (*administrator[1:], *storage[1:]):
        done = run("bash", "-ec", line, env=own.environment)
        assert done.code == 0, (line, done.err)


def test_a_lab_that_is_killed_takes_its_servers_along(own: Own) -> None:
    own.lab("up", "--background")
    pid = running(own.folder)
    assert pid
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while own.processes():
        assert time.monotonic() < deadline, own.processes()
        time.sleep(0.1)
    assert own.lab("down")[0] == 0
    assert own.left() == []


def test_nobody_elses_folder_is_cleared(own: Own) -> None:
    own.folder.mkdir()
    (own.folder / "thesis.tex").touch()
    code, text = own.lab("up", "--background")
    assert code == 1 and "not a lab's" in text
    (own.folder / "thesis.tex").unlink()


def test_servers_listen_on_this_machine_alone(lab: Lab) -> None:
    open_to = {
        connection.laddr.ip
        for daemon in lab.daemons.values()
        if daemon.running
        for process in [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert open_to == {"127.0.0.1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="without root there is nobody else to be")
def test_root_does_not_run_the_servers(lab: Lab) -> None:
    for name in ("site-a", "site-t", "cache"):
        assert psutil.Process(lab.daemons[name].pid).username() == lab.layout.user


def test_a_layout_says_where_its_parts_are() -> None:
    layout = Layout(Path("/lab"), {"site-a": 4711})
    assert layout.pfn("SITE-A", "x/y") == "root://127.0.0.1:4711//site-a/x/y"
    assert Layout.from_json(layout.to_json()) == layout
    assert not is_mounted(layout.mount)

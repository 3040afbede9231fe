"""Children and mounts: what hangs is given up, killed and leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_fakes import SECONDS

from jupyterhub_dlaas.agent.bundle import Mount
from jupyterhub_dlaas.agent.child import Children
from jupyterhub_dlaas.agent.mounts import probe


def hang() -> bytes:
    time.sleep(60)
    return b"late"


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_tasks_run_at_once_and_one_that_hangs_has_no_answer():
    answers = Children().run({"hangs": hang, "too": hang, "works": lambda: b"x" * 200_000}, 0.3)
    assert answers == {"hangs": None, "too": None, "works": b"x" * 200_000}


def test_a_child_that_hung_leaves_no_zombie():
    before = children_of(os.getpid())
    Children().run({"hangs": hang}, 0.1)
    assert children_of(os.getpid()) == before


def test_a_child_that_fails_has_no_answer():
    assert Children().run({"fails": lambda: bytes(1 // 0)}, 5) == {"fails": None}


def test_a_machine_without_room_for_a_child_is_an_error_with_a_sentence():
    code = (
        "import resource; from jupyterhub_dlaas.agent.child import AgentError, Children\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: Children().run({'a': bytes}, 5)\n"
        "except AgentError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "The agent cannot start a process of its own: Too many open files.\n"


def test_a_child_holds_nothing_of_the_agent_open():
    reading, writing = os.pipe()
    open_in_child = Children().run({"look": lambda: " ".join(os.listdir("/proc/self/fd")).encode()}, 5)["look"]
    os.close(reading)
    os.close(writing)
    assert len(open_in_child.split()) == 2  # its own pipe, and the folder that it lists


def test_a_mount_that_answers_is_alive_and_one_that_is_not_there_says_so(tmp_path):
    mounts = [Mount("scratch", str(tmp_path), False), Mount("eulake", str(tmp_path / "eos"), False)]
    assert probe(mounts, Children()) == {"scratch": "", "eulake": "No such file or directory."}


@pytest.fixture
def dead_mount(tmp_path):
    """A FUSE mount whose server never answers, as that of an eosxd that hangs."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("mounting needs root and /dev/fuse")
    path = tmp_path / "eos"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", os.fsencode(path), b"fuse", 0, options):
        os.close(fd)
        pytest.skip("FUSE cannot be mounted here")
    yield path
    os.close(fd)  # ends the file system, and with it everybody who waits for it
    libc.umount2(os.fsencode(path), 2)


def test_a_mount_that_hangs_is_dead_and_its_neighbour_alive(dead_mount, tmp_path):
    mounts = [Mount("eulake", str(dead_mount), False), Mount("scratch", str(tmp_path), False)]
    before = children_of(os.getpid())
    assert probe(mounts, Children(), 0.2) == {"eulake": "It does not answer within 0.2 seconds.", "scratch": ""}
    assert children_of(os.getpid()) == before


def test_sigterm_ends_the_agent_at_once_while_it_waits_for_a_dead_mount(hub, agents, dead_mount):
    hub.mounts = [{"name": "eulake", "path": str(dead_mount), "required": False}]
    agent = agents(hub)
    hub.wait(lambda: hub.asked)
    deadline = time.monotonic() + SECONDS
    while not ((agent.files / "tokens/rucio").exists() and children_of(agent.process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    agent.process.terminate()
    assert agent.process.wait(2) == 0

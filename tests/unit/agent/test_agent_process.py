"""A real agent against a real HTTP server: how it starts, renews, survives and ends."""

from __future__ import annotations

import ast
import os
import random
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from agent_fakes import SECONDS, TOKEN, entry

import jupyterhub_dlaas.agent
from jupyterhub_dlaas.agent.command import ready_command


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_everything_is_written_before_it_says_ready(hub, agents):
    hub.files = [entry("tokens/rucio", "abc"), entry("rucio/etc/rucio.cfg", "[client]\n", mode="0400")]
    hub.files += [entry("seed/user.json", "{}", when="once", root="cache")]
    agent = agents(hub)
    assert agent.ready() == {"ok": True}
    assert agent.read("tokens/rucio") == "abc"
    assert agent.read("rucio/etc/rucio.cfg") == "[client]\n"
    assert (agent.cache / "seed/user.json").read_text() == "{}"
    assert [mode(agent.files / path) for path in (".", "tokens", "tokens/rucio", "rucio/etc/rucio.cfg")] == [
        0o700,
        0o700,
        0o600,
        0o400,
    ]


def test_the_credential_is_sent_and_seen_nowhere_else(hub, agents):
    agent = agents(hub)
    agent.ready()
    process = Path(f"/proc/{agent.process.pid}")
    assert hub.asked[0]["Authorization"] == f"token {TOKEN}"
    assert TOKEN.encode() not in (process / "cmdline").read_bytes()
    hub.fault = lambda handler: handler.answer(500, TOKEN.encode(), {})
    hub.wait_questions(1)
    assert TOKEN not in agent.end()


def test_another_process_of_the_same_user_cannot_read_the_agents_memory(tmp_path):
    code = (
        "import ctypes, sys; from jupyterhub_dlaas.agent.__main__ import main\n"
        "main(['--hub-url', 'none', '--files', 'f', '--cache', 'c', '--credential-file', 'none'])\n"
        "print('dumpable:', ctypes.CDLL(None).prctl(3))"  # PR_GET_DUMPABLE
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"dumpable: 0\n"


def test_the_credential_may_come_from_a_private_file(hub, agents, tmp_path):
    path = tmp_path / "credential"
    path.touch(0o600)
    path.write_text(TOKEN)
    assert agents(hub, credential_fd=None, credential_file=str(path)).ready() == {"ok": True}


def test_the_credential_may_come_from_a_mounted_secret(hub, agents, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    assert agents(hub, credential_fd=None, credential_secret=str(tmp_path / "token")).ready() == {"ok": True}


def test_new_content_arrives_with_the_next_question(hub, agents):
    agent = agents(hub)
    agent.ready()
    hub.files = [entry("tokens/rucio", "second")]
    hub.wait_questions(3)
    assert agent.read("tokens/rucio") == "second"


def test_an_unchanged_bundle_is_not_sent_again(hub, agents):
    agents(hub).ready()
    hub.wait(lambda: hub.unchanged >= 2)
    assert len(hub.reports) == 1


def test_a_file_that_somebody_removed_comes_back_although_the_bundle_is_unchanged(hub, agents):
    agent = agents(hub)
    agent.ready()
    (agent.files / "tokens/rucio").unlink()
    hub.wait_questions(3)
    assert agent.read("tokens/rucio") == "rucio-token"


def test_a_hub_that_restarts_is_waited_for(hub, agents):
    agent = agents(hub)
    agent.ready()
    hub.stop()
    assert agent.read("tokens/rucio") == "rucio-token"
    hub.files = [entry("tokens/rucio", "after the restart")]
    time.sleep(0.2)  # so that connections are refused in between
    hub.start()
    hub.wait_questions(2)
    assert agent.read("tokens/rucio") == "after the restart"
    stderr = agent.end()
    assert "Connection refused. The files stay as they are." in stderr
    assert "The hub answers again." in stderr


def test_a_bad_answer_leaves_the_files_and_is_asked_again(hub, agents):
    agent = agents(hub)
    agent.ready()
    hub.fault = lambda handler: handler.answer(200, b"<html>", {})
    hub.wait(lambda: len(hub.reports) >= 2)
    assert hub.reports[-1]["problems"] == ["The hub's answer is not JSON."]
    hub.fault = None
    hub.files = [entry("tokens/rucio", "healed")]
    hub.wait_questions(2)
    assert agent.read("tokens/rucio") == "healed"
    assert "not JSON. The files stay as they are." in agent.end()


def test_a_redirect_is_refused_and_the_credential_stays_here(hub, agents):
    hub.fault = lambda handler: handler.answer(302, b"", {"Location": f"{hub.url}elsewhere"})
    answer = agents(hub).ready()
    assert not answer["ok"]
    assert "redirect (302), which is refused" in answer["reason"]
    assert len(hub.asked) == 1


def test_a_bundle_that_leaves_the_folder_is_refused_whole_and_reported(hub, agents):
    agent = agents(hub)
    agent.ready()
    hub.files = [entry("tokens/rucio", "new"), entry("../outside", "x")]
    hub.wait(lambda: len(hub.reports) >= 2)
    assert "may not be written: '../outside'" in hub.reports[-1]["problems"][0]
    assert agent.read("tokens/rucio") == "rucio-token"
    assert not (agent.files.parent / "outside").exists()


def test_a_report_of_many_problems_stays_short(hub, agents):
    agent = agents(hub)
    agent.ready()
    hub.files = [entry(f"tokens/{'x' * 300}{number}", "too long a name") for number in range(40)]
    hub.wait(lambda: hub.reports and hub.reports[-1]["problems"])
    assert [len(problem) < 1000 for problem in hub.reports[-1]["problems"]] == [True] * 20


def test_a_full_disk_keeps_the_old_files_and_heals(hub, agents, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root only")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", tmp_path], check=True)
    try:
        hub.files = [entry("tokens/rucio", "old"), entry("tokens/eos", "old")]
        agent = agents(hub)
        agent.ready()
        hub.files = [entry("tokens/rucio", b"x" * 100_000), entry("tokens/eos", "new")]
        hub.wait(lambda: hub.reports and hub.reports[-1]["problems"])
        assert hub.reports[-1]["problems"] == ["tokens/rucio could not be written: No space left on device."]
        assert hub.reports[-1]["files"] == 1
        assert [agent.read("tokens/rucio"), agent.read("tokens/eos")] == ["old", "new"]
        hub.files = [entry("tokens/rucio", "small"), entry("tokens/eos", "new")]
        hub.wait(lambda: not hub.reports[-1]["problems"])
        assert hub.reports[-1]["problems"] == []
        assert agent.read("tokens/rucio") == "small"
        agent.end()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_killed_at_any_moment_files_are_whole_and_the_next_one_cleans_up(hub, agents, tmp_path):
    contents = [bytes([65 + number]) * 200_000 for number in range(8)]
    hub.ask_again_seconds = 0.01
    hub.files = lambda: [entry(f"tokens/{n}", contents[len(hub.asked) % 8]) for n in range(4)]
    moments = random.Random(1)
    for _ in range(5):
        agent = agents(hub)
        agent.ready()
        hub.wait_questions(1)
        time.sleep(moments.uniform(0, 0.05))
        agent.process.kill()
        agent.process.wait()
        assert all((agent.files / f"tokens/{n}").read_bytes() in contents for n in range(4))
    (tmp_path / "files/tokens/.dlaas-new-0123").write_text("half a tok")
    (tmp_path / "cache/seed").mkdir(parents=True)
    (tmp_path / "cache/seed/.dlaas-new-0123").write_text("half")
    hub.files = [entry("tokens/0", "whole"), entry("seed/a", "b", when="once", root="cache")]
    agent = agents(hub)
    agent.ready()
    assert os.listdir(agent.files / "tokens") == ["0"]
    assert os.listdir(agent.cache / "seed") == ["a"]


def test_the_first_bundle_that_is_not_ready_fails_the_start_with_the_reason(hub, agents):
    hub.extra = {"ready": False, "not_ready_because": "Access to rucio was refused by IAM."}
    agent = agents(hub)
    assert agent.ready() == {"ok": False, "reason": "Access to rucio was refused by IAM."}
    assert agent.process.wait(SECONDS) == 1
    assert agent.read("tokens/rucio") == "rucio-token"
    assert "Access to rucio was refused by IAM." in agent.end()


def test_a_required_mount_that_is_dead_fails_the_start(hub, agents, tmp_path):
    hub.mounts = [{"name": "eulake", "path": str(tmp_path / "eos"), "required": True}]
    answer = agents(hub, start_timeout_seconds=0.5).ready()
    assert answer["reason"] == f"{tmp_path}/eos is required and does not work: No such file or directory."
    assert hub.reports[0]["mounts"] == [
        {"name": "eulake", "path": f"{tmp_path}/eos", "alive": False, "problem": "No such file or directory."}
    ]


def test_an_optional_mount_that_is_dead_is_reported_and_then_reported_alive(hub, agents, tmp_path):
    hub.mounts = [{"name": "eulake", "path": str(tmp_path / "eos"), "required": False}]
    assert agents(hub).ready() == {"ok": True}
    assert not hub.reports[0]["mounts"][0]["alive"]
    (tmp_path / "eos").mkdir()
    hub.wait(lambda: len(hub.reports) >= 2)
    assert hub.reports[1]["mounts"][0]["alive"]


def test_a_refused_credential_fails_the_start_at_once(hub, agents):
    hub.fault = lambda handler: handler.answer(403, b"", {})
    agent = agents(hub)
    assert "refuses this agent's credential (403)" in agent.ready()["reason"]
    assert agent.process.wait(SECONDS) == 1


def test_a_hub_that_cannot_be_reached_fails_the_start_after_the_time_given(hub, agents):
    hub.stop()
    agent = agents(hub, start_timeout_seconds=0.4)
    assert agent.ready()["reason"] == f"The hub cannot be reached at 127.0.0.1:{hub.port}: Connection refused."
    hub.start()


def test_a_hub_that_speaks_another_version_fails_the_start(hub, agents):
    hub.extra = {"version": 2}
    assert "speaks version 2 of the bundle and this agent version 1" in agents(hub).ready()["reason"]


def test_ready_answers_once_the_first_write_is_complete(hub, agents, tmp_path):
    ask = ready_command(files=str(tmp_path / "files"))
    assert subprocess.run(ask, capture_output=True).returncode == 1
    agents(hub).ready()
    hub.wait_questions(1)
    assert subprocess.run(ask).returncode == 0


def test_sigterm_ends_it_at_once_while_it_waits(hub, agents):
    hub.ask_again_seconds = 3600
    agent = agents(hub)
    agent.ready()
    agent.process.terminate()
    assert agent.process.wait(2) == 0


def test_sigterm_ends_it_at_once_while_the_hub_is_silent(hub, agents):
    release = threading.Event()
    agent = agents(hub)
    agent.ready()
    hub.fault = lambda handler: release.wait(SECONDS)
    hub.wait_questions(1)
    agent.process.terminate()
    assert agent.process.wait(2) == 0
    release.set()


def test_only_durations_are_used_so_a_clock_that_jumps_does_not_matter():
    folder = Path(jupyterhub_dlaas.agent.__file__).parent
    used = set()
    for module in folder.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                used.add(node.attr)
            assert not (isinstance(node, ast.Import) and any(name.name == "datetime" for name in node.names))
    assert used <= {"monotonic", "sleep"}

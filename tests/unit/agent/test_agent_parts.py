"""The credential, the bundle, the back-off and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from agent_fakes import entry

import jupyterhub_dlaas
from jupyterhub_dlaas.agent import credential
from jupyterhub_dlaas.agent.bundle import Bundle, File, Mount, parse
from jupyterhub_dlaas.agent.command import command, ready_command
from jupyterhub_dlaas.agent.files import Root
from jupyterhub_dlaas.agent.ready import ready
from jupyterhub_dlaas.agent.renew import retry_seconds
from jupyterhub_dlaas.agent.trouble import AgentError


def pipe_with(data: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def test_a_credential_in_a_pipe_is_read_to_its_end_and_the_pipe_closed():
    fd = pipe_with(b"secret\n")
    assert credential.from_fd(fd, 1) == "secret"
    with pytest.raises(OSError):
        os.fstat(fd)


@pytest.mark.parametrize("data", [b"", b"\n", b"a b", b"a\r\nHost: x", b"x" * 9000, "ü".encode()])
def test_what_is_no_credential_is_refused_without_showing_it(data):
    with pytest.raises(AgentError, match=r"^--credential-fd \d+ does not hold a credential"):
        credential.from_fd(pipe_with(data), 1)


def test_a_pipe_that_nobody_closes_is_not_waited_for_without_end():
    reading, writing = os.pipe()
    with pytest.raises(AgentError, match="was not closed by its writer in time"):
        credential.from_fd(reading, 0.05)
    os.close(writing)
    os.close(reading)


def test_a_credential_file_that_others_can_read_is_refused(tmp_path):
    (tmp_path / "credential").write_text("secret")
    (tmp_path / "credential").chmod(0o640)
    with pytest.raises(AgentError, match=r"can be read by others \(mode 0640\); it has to be 0600 or 0400"):
        credential.from_file(str(tmp_path / "credential"))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/hostname", path)])
def test_a_credential_file_has_to_be_a_regular_one(tmp_path, make):
    make(tmp_path / "credential")
    with pytest.raises(AgentError, match=r"is not a regular file|cannot be read: Too many levels"):
        credential.from_file(str(tmp_path / "credential"))


def test_a_mounted_secret_is_read_through_its_links_whatever_its_mode(tmp_path):
    # As the kubelet lays it out, with the bits that a pod's fsGroup adds.
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "token").write_text("secret\n")
    (tmp_path / "..2026" / "token").chmod(0o444)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "token").symlink_to("..data/token")
    assert credential.from_secret(str(tmp_path / "token")) == "secret"


def test_a_secret_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AgentError, match=r"^--credential-secret .*/token cannot be read: No such file or directory\.$"):
        credential.from_secret(str(tmp_path / "token"))


def body(**changes: object) -> bytes:
    known = {"version": 1, "ask_again_seconds": 44.0, "ready": True, "not_ready_because": "", "files": [], "mounts": []}
    return json.dumps(known | changes).encode()


def test_a_bundle_becomes_values():
    mount = {"name": "eulake", "path": "/eos/eulake_1", "required": True}
    files = [entry("tokens/rucio", "abc", mode="0644"), entry("seed", "{}", when="once", root="cache")]
    assert parse(body(files=files, mounts=[mount])) == Bundle(
        44.0,
        True,
        "",
        (File("files", "tokens/rucio", 0o600, b"abc", False), File("cache", "seed", 0o600, b"{}", True)),
        (Mount("eulake", "/eos/eulake_1", True),),
    )


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", "", ".", "./a", "a\0b", "a\nb", ".dlaas-ready", "a/.dlaas-x"],
)
def test_a_path_that_is_not_plainly_inside_is_refused(path):
    with pytest.raises(AgentError, match="a path that may not be written"):
        parse(body(files=[entry("fine", "x"), entry(path, "x")]))


@pytest.mark.parametrize(
    "changes",
    [
        {"files": "text"},
        {"files": [[]]},
        {"files": [{}]},
        {"files": [entry("a", "x", mode="rw")]},
        {"files": [entry("a", "x", mode="0200")]},
        {"files": [entry("a", "x", when="never")]},
        {"files": [entry("a", "x", root="/")]},
        {"files": [entry("a", "x") | {"content": "not base64!"}]},
        {"files": [entry("a", "x"), entry("a", "y")]},
        {"mounts": [{"name": 1}]},
        {"not_ready_because": 5},
    ],
)
def test_a_malformed_bundle_is_refused_whole(changes):
    with pytest.raises(AgentError, match=r"^The hub's bundle "):
        parse(body(**changes))


@pytest.mark.parametrize(
    ("said", "understood"),
    [(44, 44.0), ("7.5", 7.5), (0, 45.0), (-3, 45.0), (None, 45.0), ("soon", 45.0), (1e9, 3600.0)],
)
def test_a_strange_time_to_ask_again_does_no_harm(said, understood):
    assert parse(body(ask_again_seconds=said)).ask_again_seconds == understood


def test_a_hub_that_is_away_is_asked_soon_then_seldom_and_at_least_twice_a_minute():
    away = AgentError("away")
    assert [retry_seconds(away, failures, 0.0) for failures in (1, 2, 3, 7, 100_000)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert retry_seconds(away, 7, 0.999) > 15


def test_a_refusal_is_asked_again_slowly_and_a_wait_that_was_asked_for_is_kept():
    assert retry_seconds(AgentError("403", hopeless=True), 1, 0.5) == 90.0
    assert retry_seconds(AgentError("429", retry_after=40.0), 1, 0.0) == 40.0


def test_the_command_line_holds_what_was_given_and_an_isolated_interpreter():
    assert command(hub_url="http://hub/hub/", files="/f", cache="/c", credential_fd=3, ready_fd=4, ca_file="/ca") == [
        *[sys.executable, "-I", "-m", "jupyterhub_dlaas.agent", "--hub-url", "http://hub/hub/"],
        *["--files", "/f", "--cache", "/c", "--credential-fd", "3", "--ready-fd", "4", "--ca-file", "/ca"],
    ]


def test_exactly_one_source_of_the_credential_is_named():
    with pytest.raises(ValueError, match="exactly one"):
        command(hub_url="http://hub/hub/", files="/f", cache="/c")
    with pytest.raises(ValueError, match="exactly one"):
        command(hub_url="http://hub/hub/", files="/f", cache="/c", credential_file="/a", credential_secret="/b")


def test_a_pods_agent_is_told_the_file_of_its_secret():
    line = command(hub_url="u", files="/f", cache="/c", credential_secret="/run/dlaas-credential/token")
    assert line[-2:] == ["--credential-secret", "/run/dlaas-credential/token"]


def test_the_agent_imports_the_standard_library_alone():
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "import jupyterhub_dlaas.agent.start, jupyterhub_dlaas.agent.ready, jupyterhub_dlaas.agent.command\n"
        "print({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'__main__'})\n"
        "print({name for name in sys.modules if name.startswith('jupyterhub_dlaas.') and '.agent' not in name})"
    )
    folder = Path(jupyterhub_dlaas.__file__).parents[1]
    # Without `site`, nothing that is installed can be imported.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == ["{'jupyterhub_dlaas'}", "set()"]


def test_the_ready_command_asks_about_the_folder():
    isolated = [sys.executable, "-I", "-m", "jupyterhub_dlaas.agent"]
    assert ready_command(files="/f") == [*isolated, "ready", "--files", "/f"]
    assert ready_command(files="/f", program="/usr/bin/agent") == ["/usr/bin/agent", "ready", "--files", "/f"]


def test_the_ready_command_says_how_long_to_wait():
    assert ready_command(files="/f", wait_seconds=30.5)[-2:] == ["--wait", "30.5"]


def test_ready_waits_for_the_first_write(tmp_path):
    asked = subprocess.Popen(ready_command(files=str(tmp_path), wait_seconds=10))
    Root(str(tmp_path), exact=True).mark(True)
    assert asked.wait(5) == 0


def test_ready_gives_up_with_a_sentence(tmp_path, capfd):
    assert ready(["--files", str(tmp_path), "--wait", "0.05"]) == 1
    assert capfd.readouterr().err == f"dlaas-agent: The files in {tmp_path} are not complete after 0.05 seconds.\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--files"], ["--files", ""], ["--wait", "1"], ["--files", "/f", "--wait", "nan"], ["-f", "/f"]]
)
def test_a_question_that_makes_no_sense_is_not_answered(arguments, capfd):
    assert ready(arguments) == 2
    assert "Usage: " in capfd.readouterr().err


def test_ready_imports_next_to_nothing():
    code = (
        "import sys; sys.path.append(sys.argv[1]); from jupyterhub_dlaas.agent.__main__ import main\n"
        "main(['ready', '--files', '/nonexistent'])\n"
        "print(sorted({'ssl', 'http', 'json', 'argparse', 'ctypes', 're', 'socket'} & set(sys.modules)))"
    )
    folder = Path(jupyterhub_dlaas.__file__).parents[1]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, check=True)
    assert done.stdout == b"[]\n"

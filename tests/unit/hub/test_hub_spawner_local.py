"""Folders, accounts and agent processes of servers on one machine."""

import asyncio
import getpass
import grp
import os
import pwd
import select
import signal
import stat
import sys
from pathlib import Path

import pytest

from jupyterhub_dlaas.errors import BundleError, ConfigError, OptionsError
from jupyterhub_dlaas.hub import local_agent, local_places
from jupyterhub_dlaas.hub.local_agent import AgentProcess
from jupyterhub_dlaas.oidc.secret import Secret

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# ---- folders


def test_two_servers_never_share_a_path(tmp_path: Path) -> None:
    base = local_places.prepare_base(str(tmp_path / "run"), shared_uid=True)
    assert local_places.create(base, None).files_dir != local_places.create(base, None).files_dir


def test_the_folders_are_closed_to_everybody_else(tmp_path: Path) -> None:
    base = local_places.prepare_base(str(tmp_path / "run"), shared_uid=True)
    places = local_places.create(base, None)
    assert [mode(path) for path in (base, places.files_dir, places.cache_dir)] == [0o700] * 3


def test_the_path_has_no_link_in_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    base = local_places.prepare_base(str(tmp_path / "link/run"), shared_uid=True)
    assert base == str(tmp_path / "real/run")


def test_a_path_that_eos_reads_wrongly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="places_dir"):
        local_places.prepare_base(str(tmp_path / "a=b"), shared_uid=True)


def test_a_base_that_others_can_write_in_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="changed by others"):
        local_places.prepare_base(str(tmp_path / "open"), shared_uid=False)


@as_root
def test_as_root_a_base_below_a_folder_of_a_users_is_refused_and_not_made(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", 65534, 65534)
    with pytest.raises(ConfigError, match="changed by others"):
        local_places.prepare_base(str(tmp_path / "home/run"), shared_uid=False)
    assert os.listdir(tmp_path / "home") == []


@as_root
def test_as_root_a_base_behind_a_users_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "roots")
    os.lchown(tmp_path / "link", 65534, 65534)
    with pytest.raises(ConfigError, match="changed by others"):
        local_places.prepare_base(str(tmp_path / "link"), shared_uid=False)


def test_at_the_end_nothing_is_left(tmp_path: Path) -> None:
    base = local_places.prepare_base(str(tmp_path / "run"), shared_uid=True)
    places = local_places.create(base, None)
    (Path(places.files_dir) / "tokens").mkdir()
    (Path(places.files_dir) / "tokens/rucio").write_text("t")
    assert local_places.remove(places, None) == []
    assert os.listdir(base) == []


def test_removing_twice_is_no_problem(tmp_path: Path) -> None:
    base = local_places.prepare_base(str(tmp_path / "run"), shared_uid=True)
    places = local_places.create(base, None)
    local_places.remove(places, None)
    assert local_places.remove(places, None) == []


def test_eos_takes_no_token_below_a_folder_that_the_user_cannot_list(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o711)
    assert "cannot be listed" in local_places.why_eos_refuses(str(tmp_path / "closed"), uid=54321, gid=54321)


# ---- accounts


def test_a_user_without_a_system_account_gets_nothing() -> None:
    with pytest.raises(OptionsError, match="no system account"):
        local_places.account_of("nobody-of-this-name", grp.getgrgid(os.getgid()).gr_name)


def test_a_system_account_gets_nothing_even_as_a_member_of_the_group() -> None:
    with pytest.raises(OptionsError, match="may not have a server"):
        local_places.account_of("daemon", grp.getgrgid(pwd.getpwnam("daemon").pw_gid).gr_name)


def test_a_group_that_is_not_there_is_the_administrators_fault() -> None:
    with pytest.raises(ConfigError, match="system_group"):
        local_places.account_of(getpass.getuser(), "no-such-group")


@as_root
def test_as_root_the_folders_belong_to_the_user_below_a_folder_of_roots(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    account = local_places.Account("nobody", 65534, 65534, (65534,), "/")
    base = local_places.prepare_base(str(tmp_path / "run"), shared_uid=False)
    places = local_places.create(base, account)
    assert (mode(base), os.stat(base).st_uid) == (0o755, 0)
    assert (mode(places.files_dir), os.stat(places.files_dir).st_uid) == (0o700, 65534)


@as_root
def test_as_root_a_link_planted_by_the_user_is_not_followed_at_the_end() -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # every user can walk there, unlike pytest's folder
        os.chmod(folder, 0o755)
        precious = Path(folder) / "precious"
        precious.mkdir()
        (precious / "file").write_text("stays")
        account = local_places.Account("nobody", 65534, 65534, (65534,), "/")
        places = local_places.create(local_places.prepare_base(f"{folder}/run", shared_uid=False), account)
        (Path(places.files_dir) / "link").symlink_to(precious)
        assert local_places.remove(places, "nobody") == []
        assert (precious / "file").read_text() == "stays"


# ---- agent processes

# Reads its credential to the end and says on its ready pipe what the test wants.
FAKE = """
import os, sys, time
credential = os.read(int(sys.argv[1]), 100).decode()
assert os.read(int(sys.argv[1]), 1) == b""
os.write(int(sys.argv[2]), sys.argv[3].replace("CREDENTIAL", credential).encode())
os.close(int(sys.argv[2]))
time.sleep(float(sys.argv[4]))
"""


def launch(said: str, seconds: float = 0.0) -> tuple[AgentProcess, int]:
    return local_agent.launch(
        lambda credential, ready: [sys.executable, "-c", FAKE, str(credential), str(ready), said, str(seconds)],
        Secret("topsecret"),
        None,
    )


async def test_an_agent_that_says_ready_lets_the_start_go_on() -> None:
    process, ready = launch('{"ok": true}\n')
    await local_agent.ready(ready, 10)
    await process.ended()


async def test_the_agents_reason_is_the_reason_of_the_failed_start() -> None:
    process, ready = launch('{"ok": false, "reason": "rucio: not a member"}\n')
    with pytest.raises(BundleError, match="rucio: not a member"):
        await local_agent.ready(ready, 10)
    await process.ended()


async def test_an_agent_that_ends_without_a_word_fails_the_start() -> None:
    process, ready = launch("")
    with pytest.raises(BundleError, match="ended before"):
        await local_agent.ready(ready, 10)
    await process.ended()


async def test_a_silent_agent_is_not_waited_for_longer_than_allowed() -> None:
    read, write = os.pipe()
    with pytest.raises(BundleError, match="not there after"):
        await local_agent.ready(read, 0.05)
    os.close(write)


async def test_the_credential_comes_by_the_pipe_and_is_in_no_argument_or_variable() -> None:
    process, ready = launch('{"ok": false, "reason": "got CREDENTIAL"}\n', 30)
    with pytest.raises(BundleError, match="got topsecret"):
        await local_agent.ready(ready, 10)
    seen = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
    assert process.kill()
    assert b"topsecret" not in seen


async def test_the_end_of_an_agent_is_noticed_at_once() -> None:
    process, ready = launch('{"ok": true}\n', 30)
    await local_agent.ready(ready, 10)
    noticed = asyncio.create_task(process.ended())
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(noticed, 5)
    assert not process.alive


async def test_what_an_agent_has_started_ends_with_it() -> None:
    process, ready = local_agent.launch(
        lambda credential, ready: ["/bin/bash", "-c", f"sleep 60 & echo begun >&{ready}; exec sleep 60"],
        Secret("topsecret"),
        None,
    )
    with os.fdopen(ready, "rb", buffering=0) as pipe:
        assert pipe.read(6) == b"begun\n"
        assert process.kill()
        assert select.select([pipe], [], [], 5)[0] == [pipe]
        assert pipe.read(1) == b""  # no process has its other end any more


async def test_a_later_process_with_the_same_pid_is_not_the_agent() -> None:
    me = AgentProcess.of(os.getpid())
    assert me.alive
    assert not AgentProcess(me.pid, me.began - 1).alive


@as_root
async def test_as_root_the_agent_is_the_user_and_nobody_else() -> None:
    account = local_places.Account("nobody", 65534, 65534, (65534,), "/")
    process, ready = local_agent.launch(
        lambda credential, ready: ["/bin/bash", "-c", f"cat /proc/self/status >&{ready}"], Secret("topsecret"), account
    )
    said = b""
    with os.fdopen(ready, "rb") as pipe:
        said = pipe.read()
    await process.ended()
    ids = {
        line.split(b":")[0]: line.split()[1:] for line in said.splitlines() if line[:4] in (b"Uid:", b"Gid:", b"Grou")
    }
    assert ids == {b"Uid": [b"65534"] * 4, b"Gid": [b"65534"] * 4, b"Groups": [b"65534"]}

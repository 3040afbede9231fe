"""Files on disk: whole, private, inside their folder, and new to whoever looks at their mtime."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterhub_dlaas.agent.bundle import File
from jupyterhub_dlaas.agent.files import Root
from jupyterhub_dlaas.agent.trouble import AgentError


def always(path: str, content: bytes = b"new", mode: int = 0o600) -> File:
    return File("files", path, mode, content, once=False)


def once(path: str, content: bytes = b"seed") -> File:
    return File("cache", path, 0o600, content, once=True)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(str(tmp_path / "files"), exact=True)


@pytest.fixture
def cache(tmp_path: Path) -> Root:
    return Root(str(tmp_path / "cache"), exact=False)


WRITER = """
import sys
from jupyterhub_dlaas.agent.bundle import File
from jupyterhub_dlaas.agent.files import Root
root = Root(sys.argv[1], exact=True)
for n in range(300):
    root.write([File("files", "tokens/rucio", 0o600, f"{n % 10:04d}".encode() * 2000, False)])
"""


def test_a_reader_never_sees_a_token_missing_short_or_wide_in_300_renewals(root):
    contents = [f"{number:04d}".encode() * 2000 for number in range(10)]
    root.write([always("tokens/rucio", contents[9])])
    path = os.path.join(root.path, "tokens/rucio")
    process = subprocess.Popen([sys.executable, "-c", WRITER, root.path])
    mtimes = set()
    while process.poll() is None:
        fd = os.open(path, os.O_RDONLY)
        status, content = os.fstat(fd), os.read(fd, 100_000)
        os.close(fd)
        assert content in contents
        assert stat.S_IMODE(status.st_mode) == 0o600
        mtimes.add(status.st_mtime_ns)
    assert process.returncode == 0
    assert len(mtimes) > 20


KILLED = """
import os, signal, sys
from jupyterhub_dlaas.agent.bundle import File
from jupyterhub_dlaas.agent.files import Root
os.rename = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
Root(sys.argv[1], exact=sys.argv[2] == "files").write([File("", "tokens/rucio", 0o600, b"new", False)])
"""


@pytest.mark.parametrize("kind", ["files", "cache"])
def test_killed_before_the_rename_the_old_file_is_whole_and_the_next_write_cleans_up(tmp_path, kind):
    folder = tmp_path / kind / "tokens"
    Root(str(tmp_path / kind), exact=kind == "files").write([always("tokens/rucio", b"old")])
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / kind, kind])
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(folder)) == 2
    assert (folder / "rucio").read_bytes() == b"old"
    Root(str(tmp_path / kind), exact=kind == "files").write([always("tokens/rucio", b"newer")])
    assert os.listdir(folder) == ["rucio"]
    assert (folder / "rucio").read_bytes() == b"newer"


def test_a_new_content_has_a_new_mtime_even_where_the_clock_stands_still(root, monkeypatch):
    path = os.path.join(root.path, "token")
    root.write([always("token", b"a")])
    for content in (b"b", b"c", b"d"):
        # The next temporary file gets the very mtime of the file that it replaces.
        old = os.stat(path).st_mtime_ns
        write = os.write
        with monkeypatch.context() as patch:

            def write_at_the_same_tick(fd, data, write=write, old=old):
                done = write(fd, data)
                os.utime(fd, ns=(old, old))
                return done

            patch.setattr(os, "write", write_at_the_same_tick)
            root.write([always("token", content)])
        assert os.stat(path).st_mtime_ns != old


def test_a_file_dated_in_the_future_is_still_renewed(root):
    path = Path(root.path, "token")
    root.write([always("token", b"a")])
    os.utime(path, (4e9, 4e9))
    root.write([always("token", b"b")])
    assert path.read_bytes() == b"b"
    assert path.stat().st_mtime != 4e9


def test_the_same_content_is_not_written_again(root):
    root.write([always("token")])
    before = os.stat(os.path.join(root.path, "token"))
    root.write([always("token")])
    after = os.stat(os.path.join(root.path, "token"))
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_somebody_made_wider_is_private_again(root):
    path = Path(root.path, "token")
    root.write([always("token")])
    path.chmod(0o644)
    assert not root.intact()
    root.write([always("token")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_folders_are_private_whatever_they_were(root):
    os.makedirs(os.path.join(root.path, "tokens"), mode=0o755)
    os.chmod(root.path, 0o755)
    root.write([always("tokens/rucio")])
    assert [stat.S_IMODE(os.stat(os.path.join(root.path, part)).st_mode) for part in (".", "tokens")] == [0o700] * 2


def test_what_a_bundle_no_longer_lists_is_removed(root):
    root.write([always("tokens/rucio"), always("tokens/eos"), always("eos/token")])
    root.mark(True)
    root.write([always("tokens/rucio")])
    found = sorted(str(path.relative_to(root.path)) for path in Path(root.path).rglob("*"))
    assert found == [".dlaas-ready", "tokens", "tokens/rucio"]


def test_the_cache_is_only_added_to_and_a_once_file_never_overwritten(cache):
    cache.write([once("a"), once("b")])
    Path(cache.path, "a").write_text("the user's")
    Path(cache.path, "other").write_text("kept")
    cache.write([once("a", b"another seed")])
    assert sorted(os.listdir(cache.path)) == ["a", "b", "other"]
    assert Path(cache.path, "a").read_text() == "the user's"


def test_a_link_planted_for_a_file_is_replaced_and_its_target_left_alone(root, tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    os.makedirs(os.path.join(root.path, "tokens"))
    os.symlink(target, os.path.join(root.path, "tokens/rucio"))
    assert root.write([always("tokens/rucio")]) == []
    assert target.read_text() == "mine"
    assert not os.path.islink(os.path.join(root.path, "tokens/rucio"))


def test_a_link_planted_for_a_folder_is_replaced_and_not_entered(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept").touch()
    os.mkdir(root.path)
    os.symlink(tmp_path / "elsewhere", os.path.join(root.path, "tokens"))
    os.symlink(tmp_path / "elsewhere", os.path.join(root.path, "unlisted"))
    assert root.write([always("tokens/rucio")]) == []
    assert os.listdir(tmp_path / "elsewhere") == ["kept"]
    assert os.listdir(root.path) == ["tokens"]


def test_a_link_planted_in_the_cache_is_refused_with_a_sentence(cache, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.mkdir(cache.path)
    os.symlink(tmp_path / "elsewhere", os.path.join(cache.path, "rucio"))
    assert cache.write([once("rucio/seed")]) == ["rucio/seed could not be written: Not a directory."]
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "files").symlink_to("elsewhere")
    with pytest.raises(AgentError, match="files cannot be used"):
        Root(str(tmp_path / "files"), exact=True).write([always("a")])


def test_a_folder_of_another_user_is_refused(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    (tmp_path / "files").mkdir()
    os.chown(tmp_path / "files", 12345, 12345)
    with pytest.raises(AgentError, match="belongs to another user"):
        Root(str(tmp_path / "files"), exact=True).write([always("a")])


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir])
def test_a_fifo_or_folder_planted_for_a_file_is_replaced(root, plant):
    os.mkdir(root.path)
    plant(os.path.join(root.path, "token"))
    assert root.write([always("token")]) == []
    assert Path(root.path, "token").read_bytes() == b"new"


def test_a_folder_that_was_removed_is_made_again(root):
    root.write([always("tokens/rucio")])
    os.unlink(os.path.join(root.path, "tokens/rucio"))
    os.rmdir(os.path.join(root.path, "tokens"))
    os.rmdir(root.path)
    assert not root.intact()
    root.write([always("tokens/rucio")])
    assert root.intact()


def test_a_tree_planted_without_end_is_reported_and_the_rest_is_written(root):
    os.makedirs(os.path.join(root.path, *["deep"] * 300))
    assert root.write([always("token")]) == [
        "Files that are not wanted any more could not be removed: Folders are nested too deeply."
    ]
    assert root.in_place == 1

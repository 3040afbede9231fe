"""What `dlaas scratch clean` removes and what it leaves, on real folders, with a Rucio that is a list."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyterhub_dlaas.admin.scratch_area import Area
from jupyterhub_dlaas.admin.scratch_clean import Counts, Rules, Tell, clean
from jupyterhub_dlaas.admin.scratch_rucio import NotAsked
from jupyterhub_dlaas.admin.scratch_uploads import Uploads, uploads
from jupyterhub_dlaas.datalake.journal import SUFFIX
from jupyterhub_dlaas.errors import ConfigError


class Knows:
    """A Rucio that knows these paths; `later` is called before it is asked again, and says what came new."""

    def __init__(self, *paths: str, later: Callable[[], list[str]] = list, elsewhere: tuple[str, ...] = ()) -> None:
        self._paths, self._later = paths, later
        self.elsewhere = [os.fsencode(path) for path in elsewhere]

    def paths(self) -> Iterator[tuple[bytes, ...]]:
        return iter([(os.fsencode(path),) for path in self._paths])

    def newer_paths(self) -> Iterator[tuple[bytes, ...]]:
        return iter([(os.fsencode(path),) for path in self._later()])

    def seconds_since_asked(self) -> float:
        return 0.0


class Scratch:
    """A scratch area, cleaned forty days from now: a file that exists is old."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.gone: list[str] = []
        self.failed: list[str] = []

    def put(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(b"x" * 10)

    def clean(
        self,
        rucio: Knows | None = None,
        *,
        remove: bool = True,
        days: float = 40,
        levels: int = 1,
        spare: Uploads | None = None,
    ) -> Counts:
        tell = Tell(
            lambda path, size: self.gone.append(os.fsdecode(path)),
            lambda path, why: self.failed.append(f"{os.fsdecode(path)}: {why}"),
        )
        with contextlib.closing(Area(str(self.folder))) as area:
            rules = Rules(time.time() + (days - 30) * 86400, levels, spare or Uploads())
            return clean(area, rucio or Knows(), rules, remove=remove, tell=tell)

    def left(self) -> set[str]:
        """Everything that is there, folders with a slash."""
        found = sorted(self.folder.rglob("*"))
        return {
            str(path.relative_to(self.folder)) + ("/" if path.is_dir() and not path.is_symlink() else "")
            for path in found
        }


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch")


def test_old_files_that_rucio_does_not_know_go_with_their_folders(scratch: Scratch) -> None:
    scratch.put("alice/run/a.dat", "alice/run/b.dat", "alice/c.dat")
    counts = scratch.clean()
    assert scratch.left() == {"alice/"}
    assert (counts.removed, counts.removed_bytes, counts.removed_folders) == (3, 30, 1)


def test_what_rucio_knows_stays_with_its_folders(scratch: Scratch) -> None:
    scratch.put("alice/run/a.dat", "alice/run/b.dat")
    counts = scratch.clean(Knows("alice/run/a.dat"))
    assert scratch.left() == {"alice/", "alice/run/", "alice/run/a.dat"}
    assert (counts.known, counts.known_bytes) == (1, 10)


def test_young_files_stay(scratch: Scratch) -> None:
    scratch.put("alice/a.dat")
    assert scratch.clean(days=29).young == 1
    assert "alice/a.dat" in scratch.left()


def test_a_file_with_an_old_date_that_came_today_stays(scratch: Scratch) -> None:
    scratch.put("alice/a.dat")
    os.utime(scratch.folder / "alice/a.dat", (0, 0))
    assert scratch.clean(days=29).removed == 0


def test_a_dry_run_names_the_same_and_removes_nothing(scratch: Scratch) -> None:
    scratch.put("alice/run/a.dat", "alice/run/deep/b.dat", "alice/run/deep/known", "alice/x/y/c")
    before, knows = scratch.left(), Knows("alice/run/deep/known")
    counts = scratch.clean(knows, remove=False)
    named, scratch.gone = scratch.gone, []
    assert scratch.left() == before
    assert counts == scratch.clean(knows)
    assert sorted(named) == sorted(scratch.gone)
    assert set(named) == {"alice/run/a.dat", "alice/run/deep/b.dat", "alice/x/y/c", "alice/x/y", "alice/x"}


def test_users_own_folders_stay_though_empty(scratch: Scratch) -> None:
    scratch.put("alice/a.dat", "bob/work/b.dat")
    scratch.clean()
    assert scratch.left() == {"alice/", "bob/"}
    scratch.clean(levels=0)
    assert scratch.left() == set()


def test_an_empty_folder_goes_when_it_is_old(scratch: Scratch) -> None:
    (scratch.folder / "alice/old").mkdir(parents=True)
    assert scratch.clean(days=29).removed_folders == 0
    assert scratch.clean().removed_folders == 1


def test_names_may_be_anything(scratch: Scratch) -> None:
    scratch.put("alice/with space", "alice/with\nline", "alice/ü", "alice/#%", "alice/known é#%")
    (scratch.folder / os.fsdecode(b"alice/\xff\xfe")).write_bytes(b"")
    scratch.clean(Knows("alice/known é#%"))
    assert scratch.left() == {"alice/", "alice/known é#%"}


# ---- links


def test_links_are_not_followed_out(scratch: Scratch, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious").write_text("x")
    (scratch.folder / "alice").mkdir()
    (scratch.folder / "alice/link").symlink_to(tmp_path / "outside")
    (scratch.folder / "alice/file").symlink_to(tmp_path / "outside/precious")
    scratch.clean()
    assert scratch.left() == {"alice/"}
    assert (tmp_path / "outside/precious").exists()


def test_a_folder_that_becomes_a_link_is_not_followed(scratch: Scratch, tmp_path: Path) -> None:
    scratch.put("alice/run/a.dat")
    (tmp_path / "outside").mkdir()

    def swap() -> list[str]:
        (scratch.folder / "alice/run").rename(tmp_path / "moved")
        # The same file by another way: only the way is not to be gone.
        os.link(tmp_path / "moved/a.dat", tmp_path / "outside/a.dat")
        (scratch.folder / "alice/run").symlink_to(tmp_path / "outside")
        return []

    counts = scratch.clean(Knows(later=swap))
    assert (tmp_path / "outside/a.dat").exists()
    assert (counts.removed, counts.changed) == (0, 1)


def test_a_file_that_rucio_knows_by_a_link_stays(scratch: Scratch) -> None:
    scratch.put("alice/run/a.dat", "alice/run/b.dat")
    (scratch.folder / "bob").mkdir()
    (scratch.folder / "bob/shared").symlink_to("../alice/run")
    scratch.clean(Knows("bob/shared/a.dat"))
    assert scratch.left() == {"alice/", "alice/run/", "alice/run/a.dat", "bob/", "bob/shared"}


def test_a_file_that_rucio_knows_by_a_detour_stays(scratch: Scratch) -> None:
    scratch.put("alice/a.dat", "bob/b.dat")
    scratch.clean(Knows("bob/../alice/a.dat"))
    assert "alice/a.dat" in scratch.left()


def test_links_in_a_circle_end(scratch: Scratch) -> None:
    scratch.put("alice/a.dat", "alice/known")
    (scratch.folder / "alice/one").symlink_to("two")
    (scratch.folder / "alice/two").symlink_to("one")
    counts = scratch.clean(Knows("alice/one/x", "alice/known"))
    assert (counts.missing, counts.known) == (1, 2)  # the link stays, as something behind it is known


def test_what_is_neither_file_nor_link_stays(scratch: Scratch) -> None:
    (scratch.folder / "alice").mkdir()
    os.mkfifo(scratch.folder / "alice/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(scratch.folder / "alice/s"))
        assert scratch.clean().spared == 2
    assert {"alice/pipe", "alice/s"} <= scratch.left()


def test_a_journal_of_an_upload_stays(scratch: Scratch) -> None:
    scratch.put("alice/state/upload-1.datalake-journal.jsonl")
    assert scratch.clean().spared == 1
    assert "alice/state/upload-1.datalake-journal.jsonl" in scratch.left()


# ---- races


def test_a_file_registered_between_look_and_removal_stays(scratch: Scratch) -> None:
    scratch.put("alice/a.dat", "alice/b.dat")
    counts = scratch.clean(Knows(later=lambda: ["alice/a.dat"]))
    assert scratch.left() == {"alice/", "alice/a.dat"}
    assert (counts.removed, counts.changed) == (1, 1)


def test_a_file_written_between_look_and_removal_stays(scratch: Scratch) -> None:
    scratch.put("alice/a.dat")

    def write() -> list[str]:
        (scratch.folder / "alice/a.dat").write_text("new")
        return []

    assert scratch.clean(Knows(later=write)).changed == 1
    assert "alice/a.dat" in scratch.left()


def test_a_file_put_into_a_folder_that_was_to_go_stays(scratch: Scratch) -> None:
    scratch.put("alice/run/a.dat")

    def write() -> list[str]:
        scratch.put("alice/run/new.dat")
        return []

    scratch.clean(Knows(later=write))
    assert scratch.left() == {"alice/", "alice/run/", "alice/run/new.dat"}


def test_a_folder_that_vanishes_is_no_error(scratch: Scratch) -> None:
    scratch.put("alice/run/a.dat")

    def remove() -> list[str]:
        (scratch.folder / "alice/run/a.dat").unlink()
        (scratch.folder / "alice/run").rmdir()
        return []

    counts = scratch.clean(Knows(later=remove))
    assert (counts.removed, counts.failed) == (0, 0)


# ---- whether Rucio speaks of this area


def test_nothing_goes_when_none_of_what_rucio_knows_is_here(scratch: Scratch) -> None:
    scratch.put("alice/a.dat")
    with pytest.raises(NotAsked, match="none of them is there"):
        scratch.clean(Knows("run/a.dat"))
    assert "alice/a.dat" in scratch.left()


def test_nothing_goes_when_the_area_is_another_folder_below_the_prefix(scratch: Scratch) -> None:
    scratch.put("alice/a.dat")
    with pytest.raises(NotAsked, match="--rse-path"):
        scratch.clean(Knows(elsewhere=("site/alice/a.dat",)))


def test_an_rse_with_other_areas_too_is_no_obstacle(scratch: Scratch) -> None:
    scratch.put("alice/a.dat")
    assert scratch.clean(Knows(elsewhere=("other/bob/b.dat",))).removed == 1


def test_lost_files_are_counted(scratch: Scratch) -> None:
    scratch.put("alice/a.dat", "alice/known")
    assert scratch.clean(Knows("alice/known", "alice/lost")).missing == 1


def test_an_answer_that_breaks_off_removes_nothing(scratch: Scratch) -> None:
    class Breaks(Knows):
        def paths(self) -> Iterator[tuple[bytes, ...]]:
            yield (b"alice/known",)
            raise NotAsked("gone")

    scratch.put("alice/a.dat", "alice/known")
    with pytest.raises(NotAsked):
        scratch.clean(Breaks())
    assert scratch.left() == {"alice/", "alice/a.dat", "alice/known"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_said_and_stays(scratch: Scratch) -> None:
    scratch.put("alice/closed/a.dat")
    (scratch.folder / "alice/closed").chmod(0)
    try:
        assert scratch.clean().failed == 1
        assert scratch.failed == ["alice/closed: Permission denied"]
    finally:
        (scratch.folder / "alice/closed").chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("how", [["-t", "tmpfs", "tmpfs"], ["--bind", "{outside}"]], ids=["another", "the same"])
def test_what_is_mounted_inside_is_not_entered(scratch: Scratch, tmp_path: Path, how: list[str]) -> None:
    import subprocess

    outside, point = tmp_path / "outside", scratch.folder / "alice/mounted"
    outside.mkdir()
    point.mkdir(parents=True)
    command = ["mount", *(word.format(outside=outside) for word in how), str(point)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (point / "precious").write_text("x")
        assert scratch.clean().removed == 0
        assert (point / "precious").exists()
    finally:
        subprocess.run(["umount", str(point)], check=True)


# ---- uploads that are not done


def journal(home: Path, *paths: str) -> Path:
    file = home / f".local/state/datalake/upload-1{SUFFIX}"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"version": 1, "command": "upload", "paths": paths}) + '\n{"fact": "x"}\n')
    return file


def open_uploads(scratch: Scratch, homes: Path, *, days: float = 10) -> Uploads:
    return uploads(
        f"{homes}/{{user}}/.local/state/datalake",
        [b"alice", b"bob"],
        area=str(scratch.folder),
        seen_as="/scratch",
        since=time.time() + (days - 30) * 86400,
    )


def test_what_an_open_upload_names_is_spared_for_its_user_alone(scratch: Scratch, tmp_path: Path) -> None:
    scratch.put("alice/run/a.dat", "alice/run7", "alice/other.dat", "bob/run/b.dat")
    journal(tmp_path / "homes/alice", "/scratch/run", "/etc")
    counts = scratch.clean(spare=open_uploads(scratch, tmp_path / "homes"))
    assert scratch.left() == {"alice/", "alice/run/", "alice/run/a.dat", "bob/"}
    assert (counts.spared, counts.removed) == (1, 3)


@pytest.mark.parametrize("path", ["/scratch", "{area}/alice", "{area}/alice/run", "/scratch/run/a.dat"])
def test_paths_in_journals_are_those_that_users_see(scratch: Scratch, tmp_path: Path, path: str) -> None:
    journal(tmp_path / "homes/alice", path.format(area=scratch.folder))
    assert open_uploads(scratch, tmp_path / "homes").has(b"alice/run/a.dat")


@pytest.mark.parametrize("path", ["/scratch2/run", "/scratch/ru", "{area}/bob/run", "/", "run"])
def test_other_paths_spare_nothing(scratch: Scratch, tmp_path: Path, path: str) -> None:
    journal(tmp_path / "homes/alice", path.format(area=scratch.folder))
    assert not open_uploads(scratch, tmp_path / "homes").has(b"alice/run/a.dat")


def test_an_old_journal_counts_while_its_upload_runs(scratch: Scratch, tmp_path: Path) -> None:
    file = journal(tmp_path / "homes/alice", "/scratch/run")
    assert not open_uploads(scratch, tmp_path / "homes", days=40).has(b"alice/run/a.dat")
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert open_uploads(scratch, tmp_path / "homes", days=40).has(b"alice/run/a.dat")


def test_what_is_no_journal_is_not_waited_for(scratch: Scratch, tmp_path: Path) -> None:
    folder = tmp_path / "homes/alice/.local/state/datalake"
    folder.mkdir(parents=True)
    os.mkfifo(folder / f"pipe{SUFFIX}")
    (folder / f"link{SUFFIX}").symlink_to("/etc/passwd")
    (folder / f"deep{SUFFIX}").write_text("[" * 100_000)
    (folder / f"cut{SUFFIX}").write_text('{"paths": ["/scr')
    assert not open_uploads(scratch, tmp_path / "homes").has(b"alice/run/a.dat")


def test_a_pattern_has_to_say_where_the_user_belongs() -> None:
    with pytest.raises(ConfigError, match=r"\{user\}"):
        uploads("/home/*/state", [], area="/a", seen_as="/scratch", since=0)

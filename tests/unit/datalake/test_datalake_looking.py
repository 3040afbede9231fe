"""Many files are looked at together, and a dead mount is given up."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.looking import looking


def test_sizes_come_in_the_order_of_the_paths(tmp_path: Path):
    for number in range(300):
        (tmp_path / str(number)).write_bytes(b"x" * number)
    with looking() as looker:
        assert looker.sizes([str(tmp_path / str(number)) for number in range(300)]) == list(range(300))


def test_what_is_not_there_is_an_error_number(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    with looking() as looker:
        found = looker.sizes([str(tmp_path / "no"), str(tmp_path), str(tmp_path / "loop"), "a\0b"])
    assert found == [-errno.ENOENT, -errno.EISDIR, -errno.ELOOP, -errno.ENOENT]


def test_odd_names_are_looked_at(tmp_path: Path):
    names = ["a b", "ü", "a#b", "a%20b", "a\nb", os.fsdecode(b"\xff")]
    for name in names:
        (tmp_path / name).write_bytes(b"12")
    with looking() as looker:
        assert looker.sizes([str(tmp_path / name) for name in names]) == [2] * len(names)


def test_no_files_are_no_question():
    with looking() as looker:
        assert looker.sizes([]) == []


def test_looker_can_be_used_again(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"1")
    with looking() as looker:
        assert [looker.sizes([str(tmp_path / "a")]) for _ in range(3)] == [[1]] * 3


def test_mount_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mount_is_back = threading.Event()  # a real one that hangs needs root
    monkeypatch.setattr("jupyterhub_dlaas.datalake.looking._size", lambda path: int(mount_is_back.wait(10)))
    with looking(limit_seconds=0.1) as looker, pytest.raises(Failure, match="does not answer") as caught:
        looker.sizes([str(tmp_path / "a"), str(tmp_path / "b")])
    mount_is_back.set()
    assert caught.value.code is Code.UNREACHABLE

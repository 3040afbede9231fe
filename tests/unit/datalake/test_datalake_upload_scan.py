"""Which files are found, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.scan import roots, scan


def found(*paths: Path) -> tuple[dict[str, int], dict[str, str]]:
    skipped: dict[str, str] = {}
    files = {each.relative: each.size for each in scan(roots(paths), lambda path, why: skipped.update({path: why}))}
    return files, skipped


def test_names_are_relative_to_the_parent_of_what_was_named(tmp_path: Path) -> None:
    (tmp_path / "run/a").mkdir(parents=True)
    (tmp_path / "run/a/x.dat").write_bytes(b"123")
    (tmp_path / "run/y.dat").write_bytes(b"")

    assert found(tmp_path / "run")[0] == {"run/a/x.dat": 3, "run/y.dat": 0}
    assert found(tmp_path / "run/y.dat")[0] == {"y.dat": 0}


def test_a_file_named_twice_is_found_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/x.dat").touch()

    assert roots([tmp_path / "run", tmp_path / "run/x.dat", tmp_path / "run"]) == (str(tmp_path / "run"),)


def test_links_are_left_out_and_said_so_that_nothing_outside_is_taken(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/out").symlink_to(tmp_path / "secret")
    (tmp_path / "run/file").symlink_to(tmp_path / "secret/key")

    files, skipped = found(tmp_path / "run")

    assert files == {}
    assert set(skipped) == {str(tmp_path / "run/out"), str(tmp_path / "run/file")}
    assert set(skipped.values()) == {"it is a link, and links are not followed"}


def test_a_link_that_is_named_itself_is_meant(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x.dat").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert found(tmp_path / "link")[0] == {"real/x.dat": 0}


def test_a_pipe_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert found(tmp_path)[1] == {str(tmp_path / "pipe"): "it is neither a file nor a folder"}


def test_a_path_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(Failure) as raised:
        roots([tmp_path / "nothing"])

    assert raised.value.code is Code.NOT_FOUND


def test_a_file_with_other_content_has_another_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(b"1")
    (before,) = scan([str(path)], lambda path, why: None)
    os.utime(path, ns=(1, 1))
    (after,) = scan([str(path)], lambda path, why: None)

    assert before.mark != after.mark

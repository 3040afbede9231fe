"""Each command of the tutorial, run as it is written there, prints what is written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.page import blocks, by, differences, matches
from support.rucio_lake import running_lake

NOT_HERE = 8


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LakeUser]:
    """Somebody who reads the tutorial, in a lake with the demo's data."""
    with running_lake(samples=True) as lake:
        yield LakeUser(lake, "alice", tmp_path / "alice")


def test_every_command_of_the_tutorial_prints_what_it_says(reader: LakeUser) -> None:
    home, wrong = reader.folder / "home", []
    for block in blocks("tutorial/publish.md"):
        if block.kind == "python":
            (home / block.title).write_text(block.text)
        else:
            wrong += differences(block.text, by(reader, home), _code)
    assert not wrong, "\n".join(wrong)


def _code(command: str, printed: str) -> int:
    return NOT_HERE if "is not here" in printed else 0


def test_a_tutorial_that_promises_something_else_is_found_out() -> None:
    assert matches("3 files of ... B\n...\nend\n", "3 files of 12 B\nmore\nand more\nend\n")
    assert not matches("3 files of ... B\n", "4 files of 12 B\n")
    assert not matches("a\n", "a\nb\n")


def test_how_wide_its_columns_are_does_not_matter_but_what_is_in_them_does() -> None:
    assert matches(" ok   Access    until ...\n", " ok  Access  until 00:38:57 on 22 Nov   \n")
    assert not matches("a  b\n", "a b\n")
    assert not matches("a  b\n", "a  c\n")


def test_what_was_here_at_the_first_look_may_be_said_or_not() -> None:
    said = "It can be read here already.\n"
    assert matches("end\n", f"{said}end\n")
    assert matches(f"{said}end\n", f"{said}end\n")
    assert not matches(f"{said}end\n", "end\n")

"""Each command of the tutorial, run as it is written there, prints what is written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.page import blocks, by, differences, pattern
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
    assert pattern("3 files of ... B\n...\nend\n").fullmatch("3 files of 12 B\nmore\nand more\nend\n")
    assert not pattern("3 files of ... B\n").fullmatch("4 files of 12 B\n")
    assert not pattern("a\n").fullmatch("a\nb\n")

"""Each command of the tutorial, run as it is written there, prints what is written there."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import running_lake

TUTORIAL = Path(__file__).parents[2] / "docs/pages/tutorial/publish.md"
BLOCK = re.compile(r"^```(?P<kind>console|python)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S)
NOT_HERE = 8


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LakeUser]:
    """Somebody who reads the tutorial, in a lake with the demo's data."""
    with running_lake(samples=True) as lake:
        yield LakeUser(lake, "alice", tmp_path / "alice")


def test_every_command_of_the_tutorial_prints_what_it_says(reader: LakeUser) -> None:
    home, wrong = reader.folder / "home", []
    for block in BLOCK.finditer(TUTORIAL.read_text()):
        if block["kind"] == "python":
            (home / block["title"]).write_text(block["text"])
            continue
        for command, expected in commands(block["text"]):
            done = subprocess.run(
                ["bash", "-c", command],
                env=reader.environ,
                cwd=home,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
            )
            printed = short(reader, done.stdout)
            if done.returncode != (NOT_HERE if "is not here" in printed else 0) or not pattern(expected).fullmatch(
                printed
            ):
                wrong.append(f"$ {command}{printed}--- exit {done.returncode}; the tutorial has\n{expected}")
    assert not wrong, "\n".join(wrong)


def test_a_tutorial_that_promises_something_else_is_found_out() -> None:
    assert pattern("3 files of ... B\n...\nend\n").fullmatch("3 files of 12 B\nmore\nand more\nend\n")
    assert not pattern("3 files of ... B\n").fullmatch("4 files of 12 B\n")
    assert not pattern("a\n").fullmatch("a\nb\n")


def commands(text: str) -> list[tuple[str, str]]:
    """Each command with the output that follows it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def pattern(expected: str) -> re.Pattern[str]:
    """`...` stands for anything: alone on a line for any lines, else within the line. Trailing blanks do not count."""
    text = ""
    for line in expected.splitlines():
        text += r"(?:.*\n)*?" if line == "..." else re.escape(line.rstrip()).replace(r"\.\.\.", ".*") + " *\n"
    return re.compile(text)


def short(reader: LakeUser, printed: str) -> str:
    """With the paths that a pod has."""
    for path, name in ((reader.scratch, "/scratch"), (reader.mount, "/eos/eulake_1"), (reader.folder / "home", "~")):
        printed = printed.replace(str(path), name)
    assert tempfile.gettempdir() not in re.sub(r"file://\S+", "", printed) or "Details" in printed, printed
    return "\n".join(line.rstrip() for line in printed.splitlines()) + "\n" if printed else ""

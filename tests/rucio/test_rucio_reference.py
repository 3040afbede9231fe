"""The examples of the reference of `datalake` print what it says, and its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import running_lake
from test_rucio_tutorial import commands, pattern, short

from jupyterhub_dlaas.datalake.failure import Code

PAGE = (Path(__file__).parents[2] / "docs/pages/reference/datalake.md").read_text()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeUser]:
    """Somebody who reads the page, in a lake with the demo's data."""
    with running_lake(samples=True) as lake:
        yield LakeUser(lake, "alice", tmp_path_factory.mktemp("reader") / "alice")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)


def test_commands_print_what_the_page_says(reader: LakeUser):
    wrong = []
    for command, expected in (pair for block in blocks("console") for pair in commands(block)):
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(["bash", "-c", command], env=reader.environ, cwd=reader.workplace(), text=True, **both)
        if not pattern(expected).fullmatch(printed := short(reader, done.stdout)):
            wrong.append(f"$ {command}{printed}--- the page has\n{expected}")
    assert not wrong, "\n".join(wrong)


def test_python_of_the_page_runs(reader: LakeUser):
    for block in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", block], env=reader.environ, cwd=reader.workplace(), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), block


def test_every_exit_code_is_in_the_table():
    told = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.M)]
    assert told == [int(code) for code in Code]

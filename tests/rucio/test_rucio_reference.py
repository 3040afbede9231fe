"""The examples of the reference of `datalake` print what it says, and its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.lake_user import LakeUser
from support.page import PAGES, blocks, by, console, differences
from support.rucio_lake import running_lake

from jupyterhub_dlaas.datalake.failure import Code

PAGE = "reference/datalake.md"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeUser]:
    """Somebody who reads the page, in a lake with the demo's data."""
    with running_lake(samples=True) as lake:
        yield LakeUser(lake, "alice", tmp_path_factory.mktemp("reader") / "alice")


def test_commands_print_what_the_page_says(reader: LakeUser):
    wrong = differences(console(PAGE), by(reader), lambda command, printed: None)
    assert not wrong, "\n".join(wrong)


def test_python_of_the_page_runs(reader: LakeUser):
    for block in blocks(PAGE):
        if block.kind == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text],
                env=reader.environ,
                cwd=reader.workplace(),
                capture_output=True,
                text=True,
            )
            assert (done.returncode, done.stderr) == (0, ""), block.text


def test_every_exit_code_is_in_the_table():
    told = [int(code) for code in re.findall(r"^\| (\d+) \|", (PAGES / PAGE).read_text(), re.M)]
    assert told == [int(code) for code in Code]

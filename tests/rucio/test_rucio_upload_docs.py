"""Each command of the pages about uploads and injection, run as it is written there, prints what is written there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from test_rucio_tutorial import BLOCK, commands, pattern, short

PAGES = Path(__file__).parents[2] / "docs" / "pages" / "how-to"
MAY_FAIL = {"datalake upload $SCRATCH/paper --qos SAFE\n": 2}


@pytest.mark.parametrize("page", ["large-output.md", "inject.md"])
def test_every_command_of_the_page_prints_what_it_says(page: str, alice: LakeUser) -> None:
    wrong, ran = [], 0
    for block in BLOCK.finditer((PAGES / page).read_text()):
        for command, expected in commands(block["text"]) if block["kind"] == "console" else ():
            done = subprocess.run(
                ["bash", "-c", command],
                env=alice.environ,
                cwd=alice.workplace(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
            )
            printed = short(alice, done.stdout)
            if done.returncode != MAY_FAIL.get(command, 0) or not pattern(expected).fullmatch(printed):
                wrong.append(f"$ {command}{printed}--- exit {done.returncode}; the page has\n{expected}")
            ran += 1
    assert not wrong, "\n".join(wrong)
    assert ran > 4

"""Each command of the pages about uploads and injection, run as it is written there, prints what is written there."""

from __future__ import annotations

import pytest
from support.lake_user import LakeUser
from support.page import by, commands, console, differences

MAY_FAIL = {"datalake upload $SCRATCH/paper --qos SAFE\n": 2}


@pytest.mark.parametrize("page", ["large-output.md", "inject.md"])
def test_every_command_of_the_page_prints_what_it_says(page: str, alice: LakeUser) -> None:
    text = console(f"how-to/{page}")
    wrong = differences(text, by(alice), lambda command, printed: MAY_FAIL.get(command, 0))
    assert not wrong, "\n".join(wrong)
    assert len(commands(text)) > 4

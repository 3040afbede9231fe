"""The steps of a start, in words."""

import asyncio

from jupyterhub_dlaas.bundle.mounts import MountState
from jupyterhub_dlaas.bundle.token import TokenState, Trouble
from jupyterhub_dlaas.hub.progress import Progress, mount_step, token_step
from jupyterhub_dlaas.oidc.secret import Secret

FIVE_PAST_TWO = 1_700_056_800 + 5 * 60  # 2023-11-15 14:05 UTC


async def first(progress: Progress, count: int) -> list[str]:
    steps = []
    async for event in progress.follow():
        steps.append(event["message"])
        if len(steps) == count:
            break
    return steps


async def test_each_page_gets_all_steps_from_the_beginning() -> None:
    progress = Progress()
    progress.add("one", 5)
    early = asyncio.create_task(first(progress, 2))
    await asyncio.sleep(0)
    progress.add("two", 10)
    assert await early == await first(progress, 2) == ["one", "two"]


async def test_a_step_has_its_percentage_only_where_one_is_known() -> None:
    progress = Progress()
    progress.add("one", 5)
    progress.add("note")
    assert progress.events == [{"message": "one", "progress": 5}, {"message": "note"}]


def test_access_is_told_with_its_end() -> None:
    state = TokenState("rucio", Secret("t"), FIVE_PAST_TWO, 0.0)
    assert token_step("rucio", state) == "Access to rucio until 14:05 UTC"


def test_a_refused_audience_is_told_in_its_own_sentence() -> None:
    state = TokenState("eos", None, None, None, Trouble("no_entitlement", "Refused by IAM: not a member.", 0.0))
    assert token_step("eos", state) == "eos: Refused by IAM: not a member."


def test_a_dead_mount_is_told_with_whom_to_ask() -> None:
    step = mount_step(MountState("eulake", "/eos/eulake_1", False, "no answer in 5 s"))
    assert step == (
        "eulake is not available at /eos/eulake_1: no answer in 5 s. Ask the administrators of this hub about it."
    )

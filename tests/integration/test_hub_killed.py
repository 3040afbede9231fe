"""The hub is killed between IAM's new refresh token and its place in the database: the one moment that loses it.

IAM has rotated the refresh token, the answer is on its way, and nobody is there to save it. Where IAM keeps refresh
tokens the old one still works; where it rotates them the session is over and the user logs in once more, while
running servers keep their files and get new ones after that login.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from support.hub import Browser
from support.hub_process import HubProcess
from support.scene import JSON, until, words

from jupyterhub_dlaas.demo.iam import StandInIAM


@asynccontextmanager
async def killed_between_grant_and_save(folder: Path, *, rotates: bool) -> AsyncIterator[tuple[HubProcess, Browser]]:
    """A hub that was killed so and started again, and the browser of alice, whose server runs."""
    async with StandInIAM() as iam:
        iam.clients["dlaas"].rotates = rotates
        async with HubProcess(folder, iam.issuer_url, iam.clients["dlaas"].secret) as hub, Browser(hub) as browser:
            try:
                status, text = await browser.login("alice")
                assert status == 200, words(text)
                headers = {"Referer": f"{hub.url}/hub/home"}
                status, text = await browser.post(
                    "/hub/api/users/alice/server", json={"environment": "escape/root"}, headers=headers
                )
                assert status == 201, text
                slow = iam.faults.set("refresh", delay_seconds=1.0)
                renewing = asyncio.create_task(_ignored(browser.post("/hub/dlaas/renew", headers=JSON)))
                await until(lambda: iam.counters.now["refresh"])
                hub.freeze()
                await until(lambda: iam.counters.granted["refresh"])
                await hub.kill()
                await renewing
                iam.faults.remove(slow)
                await hub.start()
                yield hub, browser
            finally:
                _end_servers(folder)


def _end_servers(folder: Path) -> None:
    """Servers and agents outlive the hub that started them, and are nobody's children then: known by their folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in " ".join([process.cwd(), *process.cmdline()]):
                process.kill()


async def _ignored(request: Any) -> None:
    try:
        await request
    except OSError:
        return


async def statuses(browser: Browser) -> dict[str, Any]:
    """Audience -> class of its problem, or None, by the hub's status route; {} when it asks for a login."""
    async with browser.session.get(
        f"{browser.hub.url}/hub/dlaas/status", headers=JSON, allow_redirects=False
    ) as answer:
        if answer.status != 200:
            return {}
        found = json.loads(await answer.text())["servers"][0]["audiences"]
        return {entry["audience"]: entry["problem"] and entry["problem"]["class"] for entry in found}


async def token_file(browser: Browser) -> str:
    """What is in the server's token file, through the server itself."""
    _, environ = await browser.get("/user/alice/environ")
    path = f"{json.loads(environ)['DLAAS_DIR']}/tokens/rucio"
    status, text = await browser.get("/user/alice/file", params={"path": path})
    return json.loads(text)["content"] if status == 200 else ""


async def test_where_iam_keeps_refresh_tokens_nothing_is_lost(tmp_path: Path) -> None:
    async with killed_between_grant_and_save(tmp_path, rotates=False) as (_, browser):
        before = await token_file(browser)
        status, text = await browser.post("/hub/dlaas/renew", headers=JSON)
        assert status == 200, text
        await until(lambda: _other(browser, before))
        assert await statuses(browser) == {"rucio": None, "eos-eulake": None}


async def test_where_iam_rotates_refresh_tokens_one_login_is_asked_for_and_heals(tmp_path: Path) -> None:
    async with killed_between_grant_and_save(tmp_path, rotates=True) as (hub, browser):
        before = await token_file(browser)
        assert before  # the server has what it had
        await browser.post("/hub/dlaas/renew", headers=JSON)
        await until(lambda: _asks_for_login(browser))
        assert await token_file(browser) == before
        assert "class=dead_session" in hub.log_file.read_text()
        status, text = await browser.login("alice")
        assert status == 200, words(text)
        await until(lambda: _other(browser, before))
        assert await statuses(browser) == {"rucio": None, "eos-eulake": None}
        assert (await browser.post("/hub/dlaas/renew", headers=JSON))[0] == 200


async def _asks_for_login(browser: Browser) -> bool:
    return not await statuses(browser)


async def _other(browser: Browser, before: str) -> bool:
    return await token_file(browser) not in ("", before)

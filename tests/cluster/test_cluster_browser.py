"""The same in a real Chromium: the pages that a scientist sees. `DLAAS_PICTURES=FOLDER` keeps pictures of them."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from cluster.lake import Deployment

PATIENCE = 60_000  # milliseconds
PROGRESS = re.compile("/hub/spawn-pending/user1")
FILE = "lhc.opendata:dimuon_2012_A.csv"

pytestmark = pytest.mark.usefixtures("steps_so_far")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(lake: Deployment, visit: Callable[..., Any]) -> AsyncIterator[Page]:
    """A tab of user1's browser; no other host than the node can be reached."""
    person = await visit("user1")
    node = lake.url.split("//")[1].partition(":")[0]
    found = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)
    rules = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {node}"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=found, args=[rules, "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        context = await chromium.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE)
        yield await context.new_page()
        await chromium.close()
    await person.leave_nothing()


async def picture(page: Page, name: str) -> None:
    folder = os.environ.get("DLAAS_PICTURES")
    if folder:
        await page.screenshot(path=Path(folder) / f"cluster-{name}.png")


async def test_the_login_leads_to_iam_and_back(page: Page, lake: Deployment) -> None:
    await page.goto(f"{lake.url}/hub/spawn")
    await page.get_by_role("button", name=re.compile("^Sign in with ")).click()
    await page.get_by_label("User name").fill("user1")
    await page.get_by_label("Password").fill("user1-pw")
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(re.compile(rf"^{re.escape(lake.url)}/|/authorize\?"))
    if not page.url.startswith(lake.url):  # only the first login is asked for an approval
        await page.get_by_role("button", name="Authorize").click()
        await page.wait_for_url(f"{lake.url}/**")


async def test_the_options_page_offers_the_catalogue(page: Page, lake: Deployment) -> None:
    await page.goto(f"{lake.url}/hub/spawn/user1")
    await page.get_by_text("Astronomy", exact=True).click()
    await expect(page.get_by_role("radio", name=re.compile("^Astronomy"))).to_be_checked()
    await expect(page.get_by_role("radio", name=re.compile("^Particle physics"))).to_have_count(0)
    await picture(page, "options")


async def test_the_progress_page_tells_the_steps_of_the_pod(page: Page, lake: Deployment) -> None:
    # The page loads itself anew, and so leads on, as soon as the server is there; we look at it first.
    await page.route(PROGRESS, lambda route: route.abort("aborted"))
    await page.get_by_role("main").get_by_role("button", name="Start").click()
    steps = page.get_by_role("main")
    for step in ("Access to rucio until", "A node was found", "The agent was started", "eulake is mounted at"):
        await expect(steps).to_contain_text(step, timeout=PATIENCE)
    await picture(page, "progress")
    await page.unroute(PROGRESS)
    await page.goto(f"{lake.url}/hub/spawn-pending/user1")


async def test_jupyterlab_opens_with_rucio_signed_in(page: Page, lake: Deployment) -> None:
    await page.wait_for_url("**/user/user1/lab**", timeout=PATIENCE)
    await page.goto(f"{lake.url}/user/user1/lab?reset")  # an earlier visit may have left the panel open
    # Before its layout is restored JupyterLab would close the panel again.
    await expect(page.get_by_role("tabpanel", name="Launcher")).to_be_visible(timeout=PATIENCE)
    await page.locator("[data-id='rucio-jupyterlab:panel']").click(timeout=PATIENCE)
    panel = page.locator("[id='rucio-jupyterlab:panel']")
    search = panel.get_by_placeholder("Enter a Data Identifier (DID)")
    await search.fill("lhc.opendata:*")
    await search.press("Enter")
    await expect(panel.get_by_text(FILE)).to_be_visible(timeout=PATIENCE)
    await picture(page, "lab")

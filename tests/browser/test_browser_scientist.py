"""One day of a scientist, in one browser tab: the tests are its steps, in their order.

The environment is chosen and started with the keyboard alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect
from visitor import Visitor, assert_accessible, fits

DID = "lhc.opendata:dimuon_2012_A.csv"
COLUMNS = "run,event,pt1,eta1,phi1,pt2,eta2,phi2,mass"
EVENTS = 9000
SLOW = 60_000  # milliseconds: a server's start, a transfer with the panel's polling of it
PROGRESS = re.compile("/hub/spawn-pending/alice")
ICON_FONT = "https://fonts.googleapis.com/icon?family=Material+Icons"

pytestmark = pytest.mark.usefixtures("steps_so_far")


@pytest.fixture(scope="module")
def alice(visit: Callable[..., Visitor]) -> Visitor:
    return visit("alice")


@pytest.fixture
def page(alice: Visitor) -> Page:
    return alice.page


@pytest.fixture
def panel(page: Page) -> Locator:
    """The Rucio panel. Neither it nor the tab that opens it has a name."""
    return page.locator("[id='rucio-jupyterlab:panel']")


def valid_until(alice: Visitor) -> dict[str, str]:
    (server,) = alice.status()["servers"]
    return {audience["audience"]: audience["valid_until"] for audience in server["audiences"]}


def tab_to(page: Page, target: Locator) -> None:
    """Presses Tab until `target` has the focus."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"Tab does not come to {target}")


def test_the_keyboard_alone_chooses_and_starts(alice: Visitor) -> None:
    page = alice.open("/hub/spawn")
    tab_to(page, page.get_by_role("radio", name="Astronomy"))
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Particle physics")).to_be_checked()
    tab_to(page, page.get_by_role("radio", name=re.compile("^small")))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name=re.compile("^large"))).to_be_checked()
    tab_to(page, page.get_by_role("radio", name="Your login"))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_role("main").get_by_role("button", name="Start"))
    # The progress page loads itself anew, and so leads on, as soon as the server is there; we look at it first.
    page.route(PROGRESS, lambda route: route.abort("aborted"))
    page.keyboard.press("Enter")
    page.wait_for_url(PROGRESS)


def test_the_progress_page_tells_the_steps_in_words(page: Page) -> None:
    steps = page.get_by_role("main").get_by_role("group")
    expect(steps).to_contain_text("Preparing Particle physics")
    expect(steps).to_contain_text(re.compile(r"Access to rucio until \d\d:\d\d UTC"))
    expect(steps).to_contain_text(re.compile(r"Access to eos-eulake until \d\d:\d\d UTC"))
    expect(steps).to_contain_text("eulake is mounted at ")
    expect(steps.get_by_text("eulake is mounted at ")).to_be_visible()


def test_the_progress_page_is_accessible(page: Page) -> None:
    assert_accessible(page)


def test_jupyterlab_opens_with_the_rucio_panel_signed_in(alice: Visitor, page: Page, panel: Locator) -> None:
    page.unroute(PROGRESS)
    alice.open("/hub/spawn-pending/alice")
    page.wait_for_url("**/user/alice/lab**", timeout=SLOW)
    page.locator("[data-id='rucio-jupyterlab:panel']").click(timeout=SLOW)
    expect(panel.get_by_placeholder("Enter a Data Identifier (DID)")).to_be_visible()


def test_the_panels_search_finds_a_did(panel: Locator) -> None:
    search = panel.get_by_placeholder("Enter a Data Identifier (DID)")
    search.fill("lhc.opendata:*")
    search.press("Enter")
    panel.get_by_text(DID).click()
    expect(panel.get_by_text("Not Available")).to_be_visible()


def test_a_file_is_made_available(page: Page, panel: Locator) -> None:
    panel.get_by_text("Make Available").click()
    # Meanwhile a notebook, for the next step.
    launcher = page.get_by_role("tabpanel", name="Launcher")
    launcher.get_by_role("button", name="Python 3 (ipykernel)").first.click()  # of Notebook, then Console
    expect(panel.get_by_text("Available", exact=True)).to_be_visible(timeout=SLOW)


def run(page: Page, cells: Locator, code: str) -> None:
    """Types into the last cell and runs it."""
    cells.get_by_role("textbox").last.click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")


def test_a_cell_reads_it_by_the_variable_that_was_added(page: Page, panel: Locator) -> None:
    cells = page.get_by_role("feed", name="Cells")
    panel.get_by_text("Add to Notebook").click()
    variable = page.get_by_placeholder("Enter a variable name")
    variable.fill("muons")
    variable.press("Enter")
    expect(page.get_by_role("main").get_by_text("Ready")).to_be_visible(timeout=SLOW)
    run(page, cells, "lines = open(muons).read().splitlines()\nprint(lines[0], len(lines) - 1, 'events')")
    expect(cells).to_contain_text(f"{COLUMNS} {EVENTS} events")


def test_jupyterlab_asks_other_hosts_for_nothing_but_the_rucio_panels_icon_font(alice: Visitor) -> None:
    assert alice.strangers <= {ICON_FONT}


def test_the_status_page_is_one_click_from_the_hubs_home(alice: Visitor) -> None:
    alice.asked.clear()
    page = alice.open("/hub/home")
    page.get_by_role("link", name="Data lake").click()
    expect(page.get_by_role("heading", name="Data lake access")).to_be_visible()


def test_the_status_page_shows_each_audience_with_valid_until(page: Page) -> None:
    for audience in ("rucio", "eos-eulake"):
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=audience))
        expect(row.get_by_role("cell").first).to_have_text("valid")
        expect(row).to_contain_text(re.compile(r"\d\d:\d\d.* UTC"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_status_page_is_accessible(page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    assert_accessible(page)


def test_the_status_page_fits_a_phone(page: Page) -> None:
    assert fits(page)
    assert_accessible(page)


def test_the_status_page_asks_no_other_host(alice: Visitor) -> None:
    assert alice.asked
    assert not alice.strangers


def test_renew_moves_valid_until(alice: Visitor, page: Page) -> None:
    before = valid_until(alice)
    page.get_by_role("button", name="Renew now").click()
    expect(page.get_by_role("status")).to_contain_text("Renewed")
    after = valid_until(alice)
    assert after.keys() == {"rucio", "eos-eulake"}
    assert all(after[audience] > before[audience] for audience in after)


def test_an_optional_audience_that_is_refused_is_explained_in_its_row(alice: Visitor, page: Page) -> None:
    alice.demo.control("audiences", refuse="eos-eulake")
    try:
        page.get_by_role("button", name="Renew now").click()
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="eos-eulake"))
        expect(row).to_contain_text("Policy forbids the audience eos-eulake")
        expect(row).to_contain_text("Ask the administrators of the hub")
        assert fits(page)
    finally:
        alice.demo.control("audiences", allow="eos-eulake")


def test_the_choice_is_what_the_keyboard_made_it(alice: Visitor) -> None:
    (server,) = alice.status()["servers"]
    assert (server["environment"], server["auth_type"]) == ("escape/particle-physics", "oidc")


def test_the_next_visit_remembers_the_choice(alice: Visitor) -> None:
    page = alice.open("/hub/home")
    page.get_by_role("button", name="Stop My Server").click()
    page.get_by_role("button", name="Start My Server").click(timeout=SLOW)
    expect(page.get_by_role("radio", name="Particle physics")).to_be_checked()
    expect(page.get_by_role("radio", name=re.compile("^large"))).to_be_checked()

"""Before anything runs: the login, the Server Options page, and those who get no server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect
from visitor import Demo, Visitor, assert_accessible, choose, fits

Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def alice(visit: Visit) -> Visitor:
    return visit("alice")


@pytest.fixture(scope="module")
def carol(visit: Visit) -> Visitor:
    return visit("carol")


@pytest.fixture
def dora(demo: Demo) -> Iterator[str]:
    """A member of ESCAPE whom IAM refuses the audience `rucio`, which the demo's VOs cannot do without."""
    demo.control("users/dora", password="dora-pw", groups=["escape"])
    demo.control("audiences", refuse="rucio")
    yield "dora"
    demo.control("audiences", allow="rucio")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_stand_in_iams_login_is_accessible(visit: Visit, theme: str) -> None:
    visitor = visit(None, color_scheme=theme)
    visitor.to_login()
    assert_accessible(visitor.page)
    assert fits(visitor.page)
    assert not visitor.strangers


def test_a_login_as_the_printed_user_ends_on_the_server_options_page(alice: Visitor) -> None:
    expect(alice.page).to_have_url(re.compile(r"/hub/spawn"))
    expect(alice.page.get_by_role("heading", name="Server Options")).to_be_visible()


def test_environments_are_grouped_by_vo(alice: Visitor) -> None:
    group = alice.open("/hub/spawn").get_by_role("group", name="ESCAPE")
    titles = group.get_by_role("radio", name=re.compile("^(Astronomy|Particle physics|Download mode)$"))
    expect(titles).to_have_count(3)


def test_a_screen_reader_hears_what_each_control_is(alice: Visitor) -> None:
    page = alice.open("/hub/spawn")
    astronomy = page.get_by_role("radio", name="Astronomy")
    expect(astronomy).to_have_accessible_description(re.compile("Python with Astropy.*Demo Data Lake"))
    choose(page, "Astronomy")
    expect(page.get_by_role("group", name="Size").get_by_role("radio", name=re.compile("^large"))).to_be_visible()
    expect(page.get_by_role("main").get_by_role("button", name="Start")).to_be_enabled()


def test_a_click_anywhere_on_a_card_chooses_it(alice: Visitor) -> None:
    page = alice.open("/hub/spawn")
    # Forced: the click goes to what lies over the text, as a person's does, and that is the card's label.
    page.get_by_text("Muon pairs with the J/psi").click(force=True)
    expect(page.get_by_role("radio", name="Particle physics")).to_be_checked()


def test_sizes_show_for_the_chosen_environment_alone(alice: Visitor) -> None:
    page = alice.open("/hub/spawn")
    choose(page, "Download mode")
    expect(page.get_by_role("group", name="Size")).to_have_count(0)
    choose(page, "Particle physics")
    expect(page.get_by_role("group", name="Size")).to_have_count(1)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_options_page_is_accessible(alice: Visitor, theme: str) -> None:
    alice.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page = alice.open("/hub/spawn")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    choose(page, "Particle physics")
    assert_accessible(page)


def test_the_options_page_fits_a_phone(alice: Visitor) -> None:
    page = alice.open("/hub/spawn")
    choose(page, "Particle physics")
    assert fits(page)


def test_somebody_in_no_vo_reads_a_sentence_and_can_start_nothing(carol: Visitor) -> None:
    page = carol.open("/hub/spawn")
    expect(page.get_by_role("alert")).to_contain_text("Your account is in none of the groups that this hub serves.")
    expect(page.get_by_role("alert")).to_contain_text("Ask your VO's managers")
    expect(page.get_by_role("button", name="Start")).to_have_count(0)


def test_the_page_for_somebody_in_no_vo_is_accessible(carol: Visitor) -> None:
    assert_accessible(carol.open("/hub/spawn"))
    assert fits(carol.page)


def test_a_refused_required_audience_is_named_with_the_reason_and_whom_to_ask(visit: Visit, dora: str) -> None:
    page = visit(dora, "dora-pw").page
    told = page.get_by_role("paragraph").filter(has_text="rucio")
    expect(told).to_contain_text("Without it you cannot work with escape")
    expect(told).to_contain_text("Policy forbids the audience rucio")
    expect(told).to_contain_text("Ask the administrators of the hub")
    expect(page.get_by_role("heading", name=re.compile("rucio"))).to_have_count(0)  # once is enough
    assert_accessible(page)
    assert fits(page)


def test_a_login_that_was_refused_leaves_nobody_logged_in(visit: Visit, dora: str) -> None:
    visitor = visit(dora, "dora-pw")
    expect(visitor.open("/hub/spawn").get_by_role("button", name=re.compile("^Sign in with "))).to_be_visible()


def test_the_first_pages_ask_no_other_host(alice: Visitor, carol: Visitor) -> None:
    assert alice.asked
    assert not alice.strangers | carol.strangers


def test_with_one_environment_only_there_is_no_options_page(visit: Visit) -> None:
    bob = visit("bob")
    bob.page.wait_for_url(re.compile(r"/hub/spawn-pending/bob|/user/bob/"))

"""Somebody before the browser: logs in by the pages, and remembers which hosts were asked."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Request, expect


@dataclass(frozen=True)
class Demo:
    """A running demo: the addresses of hub and stand-in IAM, and its users' passwords."""

    hub: str
    iam: str
    passwords: dict[str, str]

    def control(self, path: str, **body: Any) -> None:
        """Turns one of the stand-in IAM's switches."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.iam}/control/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


@dataclass
class Visitor:
    """One browser profile with one tab."""

    demo: Demo
    page: Page
    asked: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self.page.context.on("request", self._remember)

    def _remember(self, request: Request) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob"):
            self.asked.add(request.url)

    @property
    def strangers(self) -> set[str]:
        """What was asked of other hosts than this machine."""
        return {url for url in self.asked if urlsplit(url).hostname != "127.0.0.1"}

    def open(self, path: str) -> Page:
        self.page.goto(self.demo.hub + path)
        return self.page

    def to_login(self) -> None:
        """As far as IAM's form."""
        self.open("/hub/")
        self.page.get_by_role("button", name=re.compile("^Sign in with ")).click()
        expect(self.page.get_by_role("heading", name="Sign in")).to_be_visible()

    def log_in(self, name: str, password: str) -> None:
        """Until the hub answers, whatever it answers."""
        self.to_login()
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        # Only the first login of a user is asked for an approval.
        self.page.wait_for_url(re.compile(rf"^{re.escape(self.demo.hub)}/|/authorize\?"))
        if not self.page.url.startswith(self.demo.hub):
            self.page.get_by_role("button", name="Authorize").click()
            self.page.wait_for_url(f"{self.demo.hub}/**")

    def status(self) -> dict[str, Any]:
        """The status page as a program reads it, with this browser's cookies."""
        answer = self.page.request.get(
            f"{self.demo.hub}/hub/dlaas/status", headers={"Accept": "application/json"}, max_redirects=0
        )
        assert answer.ok, answer.text()
        return dict(answer.json())


def choose(page: Page, title: str) -> None:
    """Clicks on a card of the options page, where a mouse would."""
    page.get_by_text(title, exact=True).click()


SCROLLS_SIDEWAYS = """[document.documentElement, ...document.querySelectorAll("main *")].some(element =>
    element.scrollWidth > element.clientWidth
    && (element === document.documentElement || /auto|scroll/.test(getComputedStyle(element).overflowX)))"""


def fits(page: Page, width: int = 360) -> bool:
    """Whether the page, and each part of it, can be read on a phone without scrolling sideways."""
    page.set_viewport_size({"width": width, "height": 740})
    return not page.evaluate(SCROLLS_SIDEWAYS)


def assert_accessible(page: Page, only: str | None = None, *, without: tuple[str, ...] = ()) -> None:
    """axe finds nothing in the page, or in the part that the selector `only` names; `without` some of its rules."""
    options = {"resultTypes": ["violations"], "rules": {rule: {"enabled": False} for rule in without}}
    found = Axe().run(page, context=only, options=options)
    assert not found.violations_count, found.generate_report()

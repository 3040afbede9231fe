"""A browser reduced to what a login needs: cookies, redirects and forms. Works on the stand-in IAM and on Keycloak."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urljoin, urlsplit

import aiohttp

_MAX_STEPS = 15


class LoginRefusedError(AssertionError):
    """The issuer would not let this user in; the message has what its page said."""


@dataclass
class Form:
    action: str = ""
    values: dict[str, str] = field(default_factory=dict)
    asks_password: bool = False


class _Page(HTMLParser):
    """The first form of a page, filled in as far as the page does, and the page's text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.form: Form | None = None
        self.text: list[str] = []
        self._inside = False
        self._silent = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {name: value or "" for name, value in attrs}
        self._silent = tag in ("style", "script")
        if tag == "form" and self.form is None:
            self.form, self._inside = Form(have.get("action", "")), True
        elif self._inside and self.form is not None and tag in ("input", "button"):
            self._field(self.form, tag, have)

    @staticmethod
    def _field(form: Form, tag: str, have: dict[str, str]) -> None:
        name, kind = have.get("name", ""), have.get("type", "submit" if tag == "button" else "text")
        form.asks_password |= kind == "password"
        if not name or (kind in ("checkbox", "radio") and "checked" not in have):
            return
        if kind == "submit" and name in form.values:
            return  # the first of several buttons is the one that says yes
        form.values[name] = have.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        if tag == "form":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._silent:
            self.text.append(data.strip())


class FormBrowser:
    """Keeps its cookies, so a second `login` finds the user signed in.

    It sends `Secure` cookies to http on loopback, as browsers do and cookie jars of HTTP libraries do not:
    Keycloak sets them so even there.
    """

    def __init__(self, issuer_url: str) -> None:
        self._origin = _origin(issuer_url)
        self.cookies: dict[str, str] = {}

    async def login(self, authorize_url: str, user: str, password: str, *, decision: str | None = None) -> str:
        """Goes through the issuer's pages from `authorize_url` and returns the redirect that leaves the issuer.

        `decision` overrides the value of a button so named (`deny`). LoginRefusedError if the issuer refuses.
        """
        url, form, tried = authorize_url, None, False
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            for _ in range(_MAX_STEPS):
                if _origin(url) != self._origin:
                    return url
                headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
                method, data = ("GET", None) if form is None else ("POST", form.values)
                async with session.request(
                    method, url, data=data, headers=headers if self.cookies else {}, allow_redirects=False
                ) as answer:
                    self._remember(answer)
                    if answer.status in (301, 302, 303, 307):
                        url, form = urljoin(url, answer.headers["Location"]), None
                        continue
                    page = _Page(await answer.text())
                    said = " ".join(page.text)[:500]
                    if answer.status >= 400 or page.form is None:
                        raise LoginRefusedError(f"{answer.status} at {urlsplit(url).path}: {said}")
                form = page.form
                if form.asks_password:
                    if tried:
                        raise LoginRefusedError(f"the login page came again: {said}")
                    tried = True
                    form.values |= {"username": user, "password": password}
                if decision is not None and "decision" in form.values:
                    form.values["decision"] = decision
                url = urljoin(url, form.action)
        raise LoginRefusedError(f"no end of pages after {_MAX_STEPS} steps at {urlsplit(url).path}")

    def _remember(self, answer: aiohttp.ClientResponse) -> None:
        for line in answer.headers.getall("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


async def login_by_forms(session: aiohttp.ClientSession, start_url: str, user: str, password: str) -> str:
    """Logs in from a page of the hub that leads to the issuer; returns the URL that the issuer sends the browser to.

    `session` keeps the hub's cookies (its jar must accept those of IP addresses); the issuer's are a fresh browser's.
    LoginRefusedError if the hub shows a page instead, or the issuer refuses.
    """
    url = start_url
    for _ in range(_MAX_STEPS):
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status not in (301, 302, 303, 307):
                said = " ".join(_Page(await answer.text()).text)[:500]
                raise LoginRefusedError(f"{answer.status} at {urlsplit(url).path}, before the issuer: {said}")
            url = urljoin(url, answer.headers["Location"])
        if _origin(url) != _origin(start_url):
            return await FormBrowser(url).login(url, user, password)
    raise LoginRefusedError(f"{start_url} does not lead to the issuer")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc

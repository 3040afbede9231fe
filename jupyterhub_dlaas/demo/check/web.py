"""A person's browser: cookies, links and forms, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import aiohttp
from yarl import URL


class Failed(Exception):
    """A step did not work; the message is for the person who reads the table."""


@dataclass
class Form:
    """One form of a page. `fields` has what a browser would send; `choices` every value of each radio group."""

    action: str = ""
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)
    password: str = ""
    text: str = ""


@dataclass(frozen=True)
class Page:
    """What came back at the end of all redirects."""

    url: str
    status: int
    html: str
    forms: list[Form]
    links: list[str]
    text: str


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in {"script", "style"}:
            self._hidden += 1
        elif tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag == "form":
            self.forms.append(Form(attributes.get("action", ""), attributes.get("method", "get").lower()))
        elif tag in {"input", "button"} and self.forms and attributes.get("name"):
            self._field(self.forms[-1], tag, attributes)

    def _field(self, form: Form, tag: str, attributes: dict[str, str]) -> None:
        name, value = attributes["name"], attributes.get("value", "")
        kind = attributes.get("type", "submit" if tag == "button" else "text")
        if kind == "submit":
            form.buttons.append((name, value))
            return
        if kind == "password":
            form.password = name
        elif kind in {"text", "email"} and not form.text:
            form.text = name
        if kind == "radio":
            form.choices.setdefault(name, []).append(value)
        if kind not in {"radio", "checkbox"} or "checked" in attributes:
            form.fields[name] = value

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.words.append(" ".join(data.split()))


class Browser:
    """Follows redirects and keeps cookies; `async with`."""

    def __init__(self, home: str) -> None:
        self.home = home.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Browser:
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of a bare address, too
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
        # A kept connection may be closed by the proxy in the moment in which a POST is sent on it.
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(cookie_jar=jar, timeout=timeout, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a Browser is used with `async with`")
        return self._session

    def headers(self, url: str) -> dict[str, str]:
        """What a page's script sends along: the XSRF cookie of that path, and where it comes from."""
        cookie = self.session.cookie_jar.filter_cookies(URL(url)).get("_xsrf")
        headers = {"Referer": url, "Origin": self.home}
        return headers | ({"X-XSRFToken": cookie.value} if cookie else {})

    async def open(self, url: str, form: dict[str, str] | None = None) -> Page:
        """A page, or with `form` what a posted form leads to."""
        where = urljoin(self.home + "/", url)
        method = "GET" if form is None else "POST"
        try:
            async with self.session.request(method, where, data=form, headers={"Referer": where}) as answer:
                html = await answer.text(errors="replace")
                return read(str(answer.url), answer.status, html)
        except aiohttp.ClientError as error:
            raise Failed(f"{where} cannot be reached: {error}") from error

    async def submit(self, page: Page, form: Form, **changes: str) -> Page:
        """Sends a form of a page with some fields changed."""
        return await self.open(urljoin(page.url, form.action or page.url), {**form.fields, **changes})

    async def api(self, method: str, path: str, body: Any = None, *, ok: tuple[int, ...] = (200, 201, 202, 204)) -> Any:
        """JSON of a REST call as the page's script makes it. Failed with the server's own words otherwise."""
        url = urljoin(self.home + "/", path)
        try:
            async with self.session.request(
                method, url, json=body, headers=self.headers(url), allow_redirects=False
            ) as answer:
                if answer.status not in ok:
                    said = " ".join((await answer.text(errors="replace")).split())
                    raise Failed(f"{method} {url} answered {answer.status}: {said[:400]}")
                return await answer.json(content_type=None) if answer.status != 204 else None
        except aiohttp.ClientError as error:
            raise Failed(f"{url} cannot be reached: {error}") from error


def read(url: str, status: int, html: str) -> Page:
    """A page's forms, links and words."""
    reader = _Reader()
    reader.feed(html)
    return Page(url, status, html, reader.forms, reader.links, " ".join(reader.words))

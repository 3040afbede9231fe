"""The steps of a scientist's day. Each returns what it saw, in a few words, or raises `Failed`."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from jupyterhub_dlaas.demo.check.jupyter import Server
from jupyterhub_dlaas.demo.check.web import Browser, Failed, Page

EVENTS = 12000  # rows in the EVENTS table of every event list of the demo


@dataclass(frozen=True)
class Person:
    """Who plays, and what they choose."""

    name: str
    password: str
    environment: str = "escape/astronomy"
    search: str = "cta:*run*.fits"


class Scientist:
    """Remembers between steps what a person would: the page, the file found, where it is."""

    def __init__(self, browser: Browser, person: Person, say: Callable[[str], None]) -> None:
        self.browser, self.person, self._say = browser, person, say
        self.server = Server(browser, f"/user/{quote(person.name)}/")
        self._page: Page | None = None
        self._instance = ""
        self._did, self._path = "", ""
        self._used: set[str] = set()

    async def log_in(self) -> str:
        page = await self.browser.open("/hub/login?next=%2Fhub%2Fhome")
        way = next((link for link in page.links if "oauth_login" in link), None)
        if way:
            page = await self.browser.open(way)
        for _ in range(6):
            form = page.forms[0] if page.forms else None
            if form is None or page.url.startswith(self.browser.home):
                break
            if form.password:
                page = await self.browser.submit(
                    page, form, **{form.text: self.person.name, form.password: self.person.password}
                )
            else:
                page = await self.browser.submit(page, form, **dict(form.buttons[:1]))
        if not page.url.startswith(self.browser.home):
            raise Failed(f"the login stopped at {page.url.partition('?')[0]}: {page.text[:300]}")
        if page.status >= 400:
            raise Failed(f"the hub answered {page.status}: {page.text[:400]}")
        who = await self.browser.api("GET", "/hub/api/user")
        if who.get("name") != self.person.name:
            raise Failed(f"the hub takes us for {who.get('name')!r}")
        if who.get("servers"):  # of an earlier check that failed
            await self.stop()
            return f"as {self.person.name}; a server that was still running is stopped"
        return f"as {self.person.name}"

    async def options(self) -> str:
        page = await self.browser.open(f"/hub/spawn/{quote(self.person.name)}")
        form = next((form for form in page.forms if "environment" in form.choices), None)
        if form is None and "/spawn-pending/" in page.url:
            return "one environment only, so no page"
        if form is None:
            raise Failed(f"no environments on the Server Options page ({page.status}): {page.text[:400]}")
        offered = form.choices["environment"]
        if self.person.environment not in offered:
            raise Failed(f"{self.person.environment} is not among {', '.join(offered)}")
        self._page = page
        return ", ".join(offered)

    async def start(self) -> str:
        if self._page is not None:
            form = next(form for form in self._page.forms if "environment" in form.choices)
            page = await self.browser.submit(self._page, form, environment=self.person.environment)
            if page.status >= 400:
                raise Failed(f"the hub answered {page.status}: {page.text[-500:]}")
        last = ""
        async for event in self._progress():
            last = str(event.get("message", last))
            if event.get("failed"):
                raise Failed(last)
            if event.get("ready"):
                break
        page = await self.browser.open(f"{self.server.base}lab")
        if page.status != 200 or not urlsplit(page.url).path.startswith(self.server.base):
            raise Failed(f"JupyterLab did not open ({page.status}, {page.url.partition('?')[0]}): {page.text[:300]}")
        return last or self.person.environment

    async def _progress(self) -> AsyncIterator[dict[str, object]]:
        url = f"{self.browser.home}/hub/api/users/{quote(self.person.name)}/server/progress"
        headers = self.browser.headers(url)
        query = urlencode({"_xsrf": headers.get("X-XSRFToken", "")})
        async with self.browser.session.get(f"{url}?{query}", headers=headers) as answer:
            if answer.status != 200:
                raise Failed(f"no progress of the start ({answer.status}): {(await answer.text())[:300]}")
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    async def whoami(self) -> str:
        # Not by its exit code: `rucio whoami` ends with 0 even when Rucio refused.
        printed, _ = await self.server.run("rucio whoami </dev/null")
        fields = dict(line.split(":", 1) for line in printed.splitlines() if ":" in line)
        account = {key.strip(): value.strip() for key, value in fields.items()}.get("account")
        if account != self.person.name:
            raise Failed(f"`rucio whoami` names no account {self.person.name}: {printed[-400:]}")
        return f"account {account}"

    async def find(self) -> str:
        known = await self.server.panel("instances")
        self._instance = known["active_instance"]
        found = await self.server.panel("did-search", namespace=self._instance, type="all", did=self.person.search)
        dids = [entry["did"] for entry in found if entry["type"] == "file" and entry["did"] not in self._used]
        if not dids:
            raise Failed(f"the panel finds no file for {self.person.search}: {found}")
        for did in dids:  # rather one that is not there yet
            if (await self._details(did))["status"] != "OK":
                self._did = did
                break
        else:
            self._did = dids[0]
        self._used.add(self._did)
        return f"{self._did} ({len(found)} found)"

    async def make_available(self, *, seconds: float = 90) -> str:
        before = await self._details(self._did)
        if before["status"] == "OK":
            self._path = before["path"]
            return "was there already"
        await self.server.panel(f"did/make-available?{urlencode({'namespace': self._instance})}", {"did": self._did})
        seen = [before["status"]]
        deadline = time.monotonic() + seconds
        while seen[-1] != "OK":
            if time.monotonic() > deadline or seen[-1] == "STUCK":
                raise Failed(f"{self._did} did not become available: {' -> '.join(seen)}")
            details = await self._details(self._did)
            if details["status"] != seen[-1]:
                seen.append(details["status"])
            await asyncio.sleep(0.5)
        self._path = details["path"]
        rules, _ = await self.server.run(f"rucio rule list --account {self.person.name} </dev/null")
        if self._did not in rules:
            raise Failed(f"Rucio has no rule of {self.person.name} for {self._did}: {rules[-300:]}")
        return " -> ".join(seen)

    async def _details(self, did: str) -> dict[str, str]:
        details = await self.server.panel("did", namespace=self._instance, did=did, force="1")
        if not details:
            raise Failed(f"the panel knows no details of {did}")
        return dict(details[0])

    async def read_file(self) -> str:
        code = (
            "from astropy.io import fits\n"
            f"with fits.open({self._path!r}) as opened:\n"
            "    print(len(opened['EVENTS'].data), opened['EVENTS'].data['ENERGY'].max() > 1)\n"
        )
        printed = await self.server.execute(code)
        if printed != f"{EVENTS} True":
            raise Failed(f"{self._path} has {printed!r} instead of {EVENTS} events")
        return f"{EVENTS} events"

    async def download(self) -> str:
        scope, name = self._did.split(":")
        printed, _ = await self.server.run(
            f'd=$(mktemp -d) && rucio download --dir "$d" {self._did} </dev/null; sha256sum < "$d/{scope}/{name}"; '
            f'sha256sum < {self._path}; rm -rf "$d"'
        )
        sums = re.findall(r"\b[0-9a-f]{64}\b", printed)
        if len(sums) != 2 or sums[0] != sums[1]:
            raise Failed(f"the download of {self._did} is not the file at {self._path}: {printed[-500:]}")
        return "same bytes as the mounted file"

    async def upload(self, *, seconds: float = 60) -> str:
        """Results from the scratch folder into the lake; Rucio removes them there when the copies are safe."""
        folder = f'"$SCRATCH"/results-{uuid.uuid4().hex[:8]}'
        printed, code = await self.server.run(
            f"mkdir {folder} && for n in 1 2 3; do head -c 100000 /dev/urandom > {folder}/$n.dat; done && "
            f"datalake upload {folder} --qos SAFE --wait </dev/null"
        )
        if code:
            raise Failed(f"`datalake upload` ended with code {code}: {printed[-400:]}")
        deadline = time.monotonic() + seconds
        while (left := (await self.server.run(f"find {folder} -type f | wc -l"))[0]) != "0":
            if time.monotonic() > deadline:
                raise Failed(f"{left} of 3 files in {folder} were not removed within {seconds:g} s")
            await asyncio.sleep(0.5)
        return "3 files are at another site, and gone from scratch"

    async def wait(self, seconds: float) -> str:
        began, said = time.monotonic(), 0.0
        while (gone := time.monotonic() - began) < seconds:
            if gone - said >= 9:
                said = gone
                self._say(f"waiting, {seconds - gone:.0f} s to go")
            await asyncio.sleep(min(1.0, seconds - gone))
        return f"{seconds:.0f} s"

    async def stop(self, *, seconds: float = 60) -> str:
        name = quote(self.person.name)
        await self.browser.open("/hub/home")  # a page of the hub, for its XSRF cookie
        await self.browser.api("DELETE", f"/hub/api/users/{name}/server")
        deadline = time.monotonic() + seconds
        while (await self.browser.api("GET", "/hub/api/user")).get("servers"):
            if time.monotonic() > deadline:
                raise Failed(f"the server did not stop within {seconds:g} s")
            await asyncio.sleep(0.5)
        return "no server any more"

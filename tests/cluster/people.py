"""Somebody who uses the hub through HTTP, as a browser does, and what `kubectl` says of their pods."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cluster.kubectl import get, kubectl
from jupyterhub_dlaas.demo.check.jupyter import Server
from jupyterhub_dlaas.demo.check.scientist import Person, Scientist
from jupyterhub_dlaas.demo.check.web import Browser, Failed

UID, GID = 1000, 100
NODE_VIEW = Path(__file__).with_name("node_view.py")


class Visitor:
    """A person with a browser."""

    def __init__(self, browser: Browser, name: str, environment: str = "") -> None:
        self.browser, self.name = browser, name
        self.scientist = Scientist(browser, Person(name, f"{name}-pw", environment), print)

    async def log_in(self) -> None:
        await self.scientist.log_in()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """A request as a page's script makes it: status and text, whatever they are."""
        url = self.browser.home + path
        headers = {**self.browser.headers(url), "Accept": "application/json"}
        async with self.browser.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def start(self, environment: str | None = None, server: str = "") -> list[str]:
        """Starts a server and waits until it is there; the messages of its progress. Failed with the last one."""
        return await self.start_with({"environment": environment} if environment else {}, server)

    async def start_with(self, options: dict[str, Any], server: str = "") -> list[str]:
        """The same with any user options."""
        await self.browser.open("/hub/home")
        status, text = await self.ask("POST", self._api(server), options)
        if status not in (201, 202):
            raise Failed(f"{status}: {json.loads(text).get('message', text)}")
        messages = [str(event.get("message", "")) async for event in self._progress(server)]
        await self.browser.open(f"{self.base(server)}lab")
        return messages

    async def _progress(self, server: str, patience: int = 10) -> AsyncIterator[dict[str, Any]]:
        url = f"{self.browser.home}{self._api(server)}/progress"
        headers = self.browser.headers(url)
        query = urlencode({"_xsrf": headers.get("X-XSRFToken", "")})
        async with self.browser.session.get(f"{url}?{query}", headers=headers) as answer:
            if answer.status == 400 and patience:  # JupyterHub knows for a moment neither of a start nor of its end
                await asyncio.sleep(0.2)
                async for event in self._progress(server, patience - 1):
                    yield event
                return
            if answer.status != 200:
                raise Failed(f"no progress ({answer.status}): {(await answer.text())[:300]}")
            async for line in answer.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    yield event
                    if event.get("failed"):
                        raise Failed(str(event.get("message")))
                    if event.get("ready"):
                        return

    async def stop(self, server: str = "", *, seconds: float = 90) -> None:
        """Stops a server and waits until hub and cluster have none."""
        await self.browser.open("/hub/home")
        await self.browser.api("DELETE", self._api(server))
        deadline = time.monotonic() + seconds
        while server in await self.servers() or self.pods(server):
            if time.monotonic() > deadline:
                raise Failed(f"the server {server!r} of {self.name} did not stop within {seconds:g} s")
            await asyncio.sleep(0.5)

    async def servers(self) -> dict[str, Any]:
        return dict((await self.browser.api("GET", "/hub/api/user")).get("servers") or {})

    async def leave_nothing(self) -> None:
        """Stops whatever of theirs runs."""
        for server in await self.servers():
            await self.stop(server)

    async def status(self, server: str = "") -> dict[str, Any]:
        """What the data lake status says of one server."""
        code, text = await self.ask("GET", "/hub/dlaas/status")
        if code != 200:
            raise Failed(f"the status answered {code}: {text[:300]}")
        return next(dict(known) for known in json.loads(text)["servers"] if known["name"] == server)

    def base(self, server: str = "") -> str:
        return f"/user/{quote(self.name)}/" + (f"{server}/" if server else "")

    def jupyter(self, server: str = "") -> Server:
        return Server(self.browser, self.base(server))

    def _api(self, server: str) -> str:
        return f"/hub/api/users/{quote(self.name)}/" + (f"servers/{server}" if server else "server")

    # --- the cluster's view

    def pods(self, server: str = "") -> list[dict[str, Any]]:
        return [
            pod
            for pod in get("pods", "-l", "component=singleuser-server")
            if pod["metadata"]["annotations"].get("hub.jupyter.org/username") == self.name
            and pod["metadata"]["annotations"].get("hub.jupyter.org/servername", "") == server
        ]

    def pod(self, server: str = "") -> dict[str, Any]:
        (pod,) = self.pods(server)
        return dict(pod)

    def inside(self, command: str, *, server: str = "", seconds: float = 60) -> str:
        """A shell command in the notebook container, as the notebook's user; ClusterError if it fails."""
        name = self.pod(server)["metadata"]["name"]
        return kubectl("exec", name, "-c", "notebook", "--", "sh", "-c", command, seconds=seconds).strip()


@asynccontextmanager
async def visitor(home: str, name: str, environment: str = "") -> AsyncIterator[Visitor]:
    """Somebody who has logged in."""
    async with Browser(home) as browser:
        person = Visitor(browser, name, environment)
        await person.log_in()
        yield person


def container_id(pod: dict[str, Any], name: str) -> str:
    """The container runtime's id of a container that runs."""
    statuses = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    (known,) = [status for status in statuses if status["name"] == name]
    return str(known["containerID"]).partition("://")[2]


def restarts(pod: dict[str, Any], name: str) -> int:
    statuses = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    return int(next(status["restartCount"] for status in statuses if status["name"] == name))


def on_node(pod: dict[str, Any], what: str, container: str, *more: object, seconds: float = 120) -> Any:
    """`node_view.py` on the node that a pod runs on."""
    where = pod["spec"]["nodeName"]
    eye = next(eye for eye in get("pods", "-l", "app=node") if eye["spec"]["nodeName"] == where)
    words = [what, container_id(pod, container), *map(str, more)]
    name = eye["metadata"]["name"]
    code = NODE_VIEW.read_text()
    return json.loads(kubectl("exec", "-i", name, "--", "python3", "-", *words, stdin=code, seconds=seconds))


async def until(
    what: str, there: Callable[[], Any], *, seconds: float = 90, every: float = 0.5, say: Callable[[str], None] = print
) -> Any:
    """Waits until `there()` (which may be a coroutine function) says something true; returns it."""
    began = said = time.monotonic()
    while True:
        found = there()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        now = time.monotonic()
        if now - began > seconds:
            raise Failed(f"{what}: not within {seconds:g} s")
        if now - said >= 8:
            said = now
            say(f"{what}: {now - began:.0f} s")
        await asyncio.sleep(every)


def agent_tokens(user: str) -> list[str]:
    """The notes of the agents' tokens that the hub's database has for a user."""
    code = (
        "import json, sqlite3, sys; print(json.dumps([row[0] for row in sqlite3.connect('jupyterhub.sqlite').execute("
        "'select note from api_tokens join users on users.id = user_id where users.name = ? and scopes like ?',"
        " (sys.argv[1], '%dlaas%'))]))"
    )
    return list(json.loads(kubectl("exec", "deployment/hub", "--", "python3", "-c", code, user)))

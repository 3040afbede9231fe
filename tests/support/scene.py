"""A scene for the tests of a whole hub: IAM, hub and people in one process, and time that moves when told to."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from traitlets.config import Config

import jupyterhub_dlaas
from jupyterhub_dlaas.demo.iam import Settings, StandInIAM
from jupyterhub_dlaas.oidc.claims import unverified_claims
from jupyterhub_dlaas.oidc.clock import ManualClock
from jupyterhub_dlaas.oidc.secret import Secret
from support.hub import Browser, RunningHub
from support.login import _Page

JSON = {"Accept": "application/json"}
AGENT_POLL_SECONDS = 0.3
ESCAPE = """
vo: escape
display_name: ESCAPE
rucio_instances:
  escape:
    display_name: ESCAPE Data Lake
    rucio_host: https://rucio.example.org
    audience: rucio
    mode: replica
    destination_rse: EULAKE-1
    storage: eulake
storages:
  eulake:
    type: eos
    host_path: {folder}/var/eos
    mount_path: {folder}/eos
    path: {folder}/eos/eulake
    audience: eos-eulake
    introspection: iam.example.org/userinfo
  scratch: {{type: scratch, host_path: "{folder}/scratch", mount_path: "{folder}/scratch"}}
environments:
  - name: root
    display_name: ROOT
    description: ROOT 6
    image: registry.example.org/escape/root:6.32
    rucio: [escape]
    storages: [eulake, scratch]
    xcache_site: CERN-XCACHE
    auth_types: [oidc, x509_proxy]
    resources:
      small: {{cpu: 1, memory: 2G}}
      large: {{cpu: 4, memory: 16G}}
  - name: plain
    display_name: Plain
    image: registry.example.org/escape/plain:1
"""
SKA = """
vo: ska
display_name: SKA
rucio_instances:
  ska: {rucio_host: "https://rucio-ska.example.org", audience: rucio, mode: download}
environments:
  - name: astro
    image: registry.example.org/ska/astro:1
    rucio: [ska]
"""
VOS: dict[str, dict[str, Any]] = {
    "escape": {
        "groups": {"escape"},
        "audiences": ["rucio", "eos-eulake"],
        "hosts": ["rucio.example.org"],
        "images": ["registry.example.org/escape/*"],
        "max_resources": {"cpu": 8, "memory": "32G"},
    },
    "ska": {"groups": {"ska"}, "trusted": True},
}


async def until(condition: Callable[[], Any], timeout: float = 15, *, what: str = "", pace: float = 0.02) -> Any:
    """Waits until `condition()` (or what it awaits) is true, and returns it. AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or getattr(condition, '__qualname__', condition)}")
        await asyncio.sleep(pace)


def words(page: str) -> str:
    """What a page says, or a text as it is, for the message of an assertion."""
    return " ".join(_Page(page).text)[:1000] if "<html" in page else page[:1000]


def base_config(folder: Path, issuer_url: str, client_secret: str) -> Config:
    """What every hub of these tests has: two VOs, of which `ska` cannot work without rucio."""
    for name in ("eos/eulake", "scratch", "catalogue.d"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "catalogue.d/escape.yaml").write_text(ESCAPE.format(folder=folder))
    (folder / "catalogue.d/ska.yaml").write_text(SKA)
    c = Config()
    c.CryptKeeper.keys = [secrets.token_bytes(32)]
    jupyterhub_dlaas.setup(c)
    c.Authenticator.auth_refresh_age = -1  # every request looks at the session, not one in a minute
    c.JupyterHub.authenticate_prometheus = False
    c.JupyterHub.authenticator_class = "dlaas"
    c.JupyterHub.spawner_class = "dlaas-local"
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 30}  # answers tell how a start ended
    c.IAMAuthenticator.issuer_url = issuer_url
    c.IAMAuthenticator.client_id, c.IAMAuthenticator.client_secret = "dlaas", client_secret
    c.IAMAuthenticator.audiences = {"rucio": {"required_for": ["ska"]}, "eos-eulake": {}}
    c.IAMAuthenticator.allow_all = True
    c.DLaaSConfig.catalogue = str(folder / "catalogue.d")
    c.DLaaSConfig.vos = {**VOS, "escape": {**VOS["escape"], "host_paths": [f"{folder}/var/eos", f"{folder}/scratch"]}}
    c.DLaaSConfig.contact = "support@example.org"
    c.DLaaSConfig.agent_poll_seconds = AGENT_POLL_SECONDS
    c.LocalDLaaSSpawner.allow_shared_uid = True
    c.LocalDLaaSSpawner.places_dir = str(folder / "run")
    c.LocalDLaaSSpawner.shared_home_dir = str(folder / "homes/{username}")
    return c


class SceneClock(ManualClock):
    """Who has just looked at the clock, and is about to sleep on it when it moves, is made to look again."""

    moved: Callable[[], None] = staticmethod(lambda: None)

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.moved()


class Server:
    """A running server, seen through its own process."""

    def __init__(self, person: Person, name: str) -> None:
        self.person, self.name = person, name
        self._environment: dict[str, str] = {}

    @property
    def spawner(self) -> Any:
        return self.person.scene.hub.user(self.person.name).spawners[self.name]

    @property
    def agent_token(self) -> str:
        return str(self.spawner._credential.reveal())

    async def _get(self, what: str, **query: str) -> tuple[int, Any]:
        path = f"/user/{self.person.name}/" + (f"{self.name}/" if self.name else "")
        status, text = await self.person.browser.get(path + what, params=query)
        return status, json.loads(text)

    async def environ(self) -> dict[str, str]:
        if not self._environment:
            self._environment = (await self._get("environ"))[1]
        return self._environment

    async def file(self, path: str) -> dict[str, Any] | None:
        """mode, uid and content of a file; relative to `$DLAAS_DIR`. None: there is none."""
        there = path if path.startswith("/") else f"{(await self.environ())['DLAAS_DIR']}/{path}"
        status, answer = await self._get("file", path=there)
        return dict(answer) if status == 200 else None

    async def text(self, path: str) -> str | None:
        found = await self.file(path)
        return None if found is None else found["content"]

    async def status(self) -> dict[str, Any]:
        return dict(json.loads(await self.text("status.json") or "{}"))

    async def seconds_left(self, key: str = "rucio") -> float | None:
        """How long the token in the file is still good; None: there is no file."""
        token = await self.text(f"tokens/{key}")
        return unverified_claims(Secret(token))["exp"] - self.person.scene.clock.now() if token else None

    async def has_token(self, key: str = "rucio", *, other_than: str | None = None) -> bool:
        left = await self.seconds_left(key)
        return left is not None and left > 0 and await self.text(f"tokens/{key}") != other_than

    async def has_what_the_hub_has(self, key: str = "rucio") -> bool:
        return await self.text(f"tokens/{key}") == self.person.held(key)


class Person:
    """Somebody with an account at IAM and a browser."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name = scene, name
        self.browser = Browser(scene.hub)

    @property
    def account(self) -> Any:
        return self.scene.iam.users[self.name]

    async def log_in(self) -> tuple[int, str]:
        """(status, text) of the page on which the login ends."""
        return await self.browser.login(self.name)

    async def ask(self, server: str = "", **options: Any) -> tuple[int, str]:
        """Asks for a server as the REST API is asked."""
        return await self.browser.spawn(self.name, server, options)

    async def start(self, server: str = "", **options: Any) -> Server:
        status, text = await self.ask(server, **(options or {"environment": "escape/root"}))
        assert status == 201, words(text)
        return Server(self, server)

    async def home(self) -> tuple[int, str]:
        """Whether the hub answers this browser: (200, "home") or where it was sent."""
        async with self.browser.session.get(self.scene.hub.url + "/hub/home") as answer:
            return answer.status, answer.url.path.rpartition("/")[2]

    def held(self, key: str) -> str | None:
        """The token that the hub holds in memory."""
        state = (self.scene.hub.dlaas.keeper.peek(self.name, [key]) or {}).get(key)
        return state.token.reveal() if state and state.token else None

    def trouble(self, key: str = "rucio") -> str:
        """The class of the last problem with an audience, or ""."""
        state = (self.scene.hub.dlaas.keeper.peek(self.name, [key]) or {}).get(key)
        return state.problem.label if state and state.problem else ""

    @property
    def logged_in(self) -> bool:
        """Whether the session with IAM is alive."""
        return not self.scene.hub.dlaas.keeper.needs_login(self.name)

    async def auth_state(self) -> dict[str, Any]:
        return await self.scene.hub.user(self.name).get_auth_state() or {}


class Scene:
    """One hub, one IAM, one clock; `people` are made anew for each test, so claims do not meet."""

    _numbers = itertools.count(1)

    def __init__(self, folder: Path, hub: RunningHub, iam: StandInIAM, clock: ManualClock) -> None:
        self.folder, self.hub, self.iam, self.clock = folder, hub, iam, clock
        self.people: list[Person] = []
        if isinstance(clock, SceneClock):
            clock.moved = self._look_again

    def _look_again(self) -> None:
        if self.hub.app is not None:
            self.hub.dlaas.refresh._wake.set()

    async def newcomer(self, *groups: str, name: str = "") -> Person:
        """A new account at IAM in these groups (default: escape; "-" for none), not logged in."""
        name = name or f"person{next(self._numbers)}"
        self.iam.add_user(name, groups=[group for group in groups or ("escape",) if group != "-"])
        person = Person(self, name)
        self.people.append(person)
        return person

    async def person(self, *groups: str, name: str = "") -> Person:
        """The same, logged in."""
        person = await self.newcomer(*groups, name=name)
        status, text = await person.log_in()
        assert status == 200, words(text)
        return person

    async def working(self, *groups: str, **options: Any) -> tuple[Person, Server]:
        """Somebody whose server runs and has its tokens."""
        person = await self.person(*groups)
        server = await person.start(**options)
        return person, server

    def log(self, since: int = 0) -> str:
        """The hub's log from that place on."""
        return self.hub.log_file.read_bytes()[since:].decode(errors="replace")

    def log_size(self) -> int:
        return self.hub.log_file.stat().st_size

    def idle(self) -> bool:
        """Whether the background has nothing to do now, or leaves an IAM that is down alone."""
        refresh, health = self.hub.dlaas.refresh, self.hub.dlaas.health
        return not refresh._running and (not refresh.gauges()["users_due"] or health.wait_seconds() > 0)

    async def pass_time(self, seconds: float, *, step: float = 60) -> None:
        """Time goes on; all that falls due is done on the way."""
        for _ in range(int(seconds // step) or 1):
            self.clock.advance(min(step, seconds))
            await until(self.idle)

    async def call(self, path: str, token: str = "", method: str = "GET", **options: Any) -> tuple[int, str]:
        """A request with this token and no cookie."""
        async with Browser(self.hub) as nobody:
            headers = {"Authorization": f"token {token}", **options.pop("headers", {})}
            async with nobody.session.request(method, self.hub.url + path, headers=headers, **options) as answer:
                return answer.status, await answer.text()

    async def clear(self) -> None:
        """The end of a test: IAM works again, everybody goes."""
        self.iam.faults.clear()
        self.iam.settings.token_seconds, self.iam.settings.refuse_reuse = 3600, False
        for person in self.people:
            await self._dismiss(person)
        self.people.clear()
        self.clock.advance(1000)  # no back-off outlives its test

    async def _dismiss(self, person: Person) -> None:
        await person.browser.session.close()
        app = self.hub.app
        user = app.users.get(person.name) if app is not None else None
        if user is None:
            return
        await asyncio.gather(*(self._stop(user, name) for name in list(user.spawners)))

    async def _stop(self, user: Any, name: str) -> None:
        spawner = user.spawners[name]
        if spawner.pending and spawner._spawn_future is not None:
            with suppress(Exception):
                await spawner._spawn_future
        if spawner.active:
            await self.hub.app.proxy.delete_user(user, name)
            await user.stop(name)


@asynccontextmanager
async def scene(folder: Path, more: Callable[[Config], None] = lambda c: None, **settings: Any) -> AsyncIterator[Scene]:
    """`more` may change the configuration; `settings` are those of the stand-in IAM."""
    clock = SceneClock()
    async with StandInIAM(clock=clock, settings=Settings(**settings)) as iam:
        async with hub_over(folder, iam, clock, more) as running:
            yield running


@asynccontextmanager
async def hub_over(
    folder: Path, iam: StandInIAM, clock: ManualClock, more: Callable[[Config], None] = lambda c: None
) -> AsyncIterator[Scene]:
    """A hub over an IAM that may not even be there."""
    iam.clients["dlaas"].secret = f"hubs-secret-{secrets.token_hex(8)}"
    c = base_config(folder, iam.issuer_url, iam.clients["dlaas"].secret)
    c.DLaaSConfig.clock = clock
    more(c)
    async with RunningHub(folder, c) as hub:
        running = Scene(folder, hub, iam, clock)
        try:
            if iam._runner is not None and iam.faults.wrong_issuer is None:
                await until(lambda: hub.dlaas.issuer.known, what="discovery")
            yield running
        finally:
            await running.clear()


def problems_of(status: Mapping[str, Any]) -> dict[str, str]:
    """Audience -> class of its problem, from a server's status.json."""
    return {key: found["problem"]["class"] for key, found in status["audiences"].items() if found["problem"]}

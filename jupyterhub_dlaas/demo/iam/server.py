"""`StandInIAM`: the server itself, in this process or (`python -m jupyterhub_dlaas.demo.iam`) in its own."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any

from aiohttp import web

from jupyterhub_dlaas.demo.iam import errors
from jupyterhub_dlaas.demo.iam.control import Control
from jupyterhub_dlaas.demo.iam.errors import RefusalError
from jupyterhub_dlaas.demo.iam.faults import Counters, Fault, Faults, pause
from jupyterhub_dlaas.demo.iam.grants import Grants, authenticate
from jupyterhub_dlaas.demo.iam.login import Login
from jupyterhub_dlaas.demo.iam.model import EXCHANGE, Client, Settings, User, demo_clients, demo_users
from jupyterhub_dlaas.demo.iam.resources import Resources
from jupyterhub_dlaas.demo.iam.store import Store
from jupyterhub_dlaas.demo.iam.tokens import Mint
from jupyterhub_dlaas.oidc.clock import Clock, ManualClock

log = logging.getLogger("dlaas.demo.iam")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PRUNE_EVERY = 500  # grants
_NAMES = {"/.well-known/openid-configuration": "discovery", "/scim/Users": "scim"}
_GRANTS = {
    "authorization_code": "code",
    "refresh_token": "refresh",
    "client_credentials": "client_credentials",
    EXCHANGE: "exchange",
}


class StandInIAM:
    """An OpenID provider on loopback that behaves as INDIGO IAM.

    `port` 0 takes a free one; `issuer_url` only if the world sees it under another address than its own. The default
    clock runs with the real one and can be moved on. `state` is a folder in which keys, users and tokens survive.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        issuer_url: str | None = None,
        state: pathlib.Path | None = None,
        settings: Settings | None = None,
        users: Mapping[str, User] | None = None,
        clients: Mapping[str, Client] | None = None,
        clock: Clock | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.clock: Clock = clock or ManualClock(tick=True)
        self.faults = Faults()
        self.counters = Counters()
        self._host, self._port, self._tls, self._given_issuer = host, port, tls, issuer_url
        self._store = Store.load(
            state, self.settings.key_type, dict(users or demo_users()), dict(clients or demo_clients())
        )
        self._mint = Mint(self._store, self.settings, self.clock, issuer_url or "")
        self._grants = Grants(self._store, self.settings, self.clock, self._mint, self.faults)
        self._runner: web.AppRunner | None = None
        self._stopped = asyncio.Event()
        self._since_prune = 0

    @property
    def issuer_url(self) -> str:
        """As discovery and id_tokens say it, with a slash at the end."""
        return self._mint.issuer

    @property
    def port(self) -> int:
        return self._port

    @property
    def users(self) -> dict[str, User]:
        return self._store.users

    @property
    def clients(self) -> dict[str, Client]:
        return self._store.clients

    async def __aenter__(self) -> StandInIAM:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; after a `stop()` again on the same port, with everything still known."""
        self._stopped = asyncio.Event()
        app = web.Application(middlewares=[self._befall])
        app.add_routes([web.post("/token", self._token)])
        app.add_routes(Login(self._store, self.settings, self.clock).routes())
        app.add_routes(Resources(self._store, self._mint, self.faults).routes())
        app.add_routes(Control(self._store, self.settings, self.clock, self.faults, self.counters).routes())
        # No access log: its lines would hold authorization codes.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._host, self._port, ssl_context=self._tls, backlog=1024, reuse_address=True
        )
        await site.start()
        self._port = self._runner.addresses[0][1]
        scheme = "https" if self._tls else "http"
        self._mint.issuer = (self._given_issuer or f"{scheme}://{self._host}:{self._port}").rstrip("/") + "/"
        self._store.prune(self.clock.now())
        self._store.save()

    async def stop(self) -> None:
        """Closes port and connections: from outside an outage. State is kept."""
        self._stopped.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._store.save()

    def rotate_keys(self, *, keep_old: bool = True) -> None:
        """New tokens are signed with a new key; without `keep_old` the old one leaves the JWKS."""
        self._store.keys.rotate(keep_old=keep_old)
        self._store.save()

    def end_sessions(self, user: str) -> None:
        """Kills all refresh tokens of the user and their access tokens, and signs the browser out."""
        self._store.end_sessions(user)
        self._store.save()

    def add_user(self, name: str, *, groups: list[str], password: str | None = None) -> User:
        """One more user, with `<name>-pw` as the password unless given."""
        user = User(name, password or f"{name}-pw", groups=list(groups))
        self._store.users[name] = user
        return user

    def log_in(
        self, user: str, *, client: str = "dlaas", scope: str = "openid profile email offline_access"
    ) -> dict[str, Any]:
        """A token response as a login of this user would end in, without a browser."""
        return self._mint.session(self._store.clients[client], self._store.users[user], scope.split(), None)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        client = authenticate(self._store, request, form)
        grant = _GRANTS.get(str(form.get("grant_type")), "token")
        try:
            body = self._grants.run(client, form)
        except RefusalError as refusal:
            log.info("%s for client %s refused: %s %s", grant, client.client_id, refusal.status, refusal.error)
            self._store.save()
            raise
        if body is None:
            return errors.crash("/token")
        self._since_prune += 1
        if self._since_prune >= _PRUNE_EVERY:
            self._since_prune = 0
            self._store.prune(self.clock.now())
        self._store.save()
        log.info("%s for client %s granted", grant, client.client_id)
        return web.json_response(body, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})

    @web.middleware
    async def _befall(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts the request and lets the faults befall it."""
        if request.path.startswith("/control/"):
            return await handler(request)
        names, audience = await _names(request)
        counted = names | ({f"exchange:{audience}"} if audience and "exchange" in names else set())
        with ExitStack() as during:
            during.enter_context(self.counters.during(counted))
            hit = self.faults.take(names, audience)
            if self.faults.latency_seconds:
                await asyncio.sleep(self.faults.latency_seconds)
            for fault in hit:
                await pause(fault, self._stopped)
                if fault.status is not None:
                    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else None
                    return web.Response(status=fault.status, headers=headers)
                if fault.not_json:
                    return web.Response(text="<html><body>Maintenance</body></html>", content_type="text/html")
            try:
                answer = await handler(request)
            except RefusalError as refusal:
                answer = refusal.response()
            if answer.status == 200:
                self.counters.granted.update(counted)
            for fault in hit:
                answer = _cut(request, answer, fault)
            return answer


async def _names(request: web.Request) -> tuple[set[str], str | None]:
    """The names of `ENDPOINTS` that this request has, and the audience it asks for."""
    if request.path != "/token":
        return {_NAMES.get(request.path, request.path.strip("/"))}, None
    form = await request.post()
    grant = _GRANTS.get(str(form.get("grant_type")))
    return {"token"} | ({grant} if grant else set()), str(form["audience"]) if "audience" in form else None


def _cut(request: web.Request, answer: web.StreamResponse, fault: Fault) -> web.StreamResponse:
    transport = request.transport
    if fault.drop_answer and transport is not None:
        transport.abort()
    elif fault.truncate and transport is not None and isinstance(answer, web.Response):
        body = answer.body if isinstance(answer.body, bytes) else b""
        head = f"HTTP/1.1 {answer.status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        transport.write(head.encode() + body[: len(body) // 2])
        transport.close()
    return answer

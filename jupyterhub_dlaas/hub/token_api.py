"""`GET /hub/dlaas/bundle` and `POST /hub/dlaas/report`: what an agent asks the hub, and what it tells it.

The caller is known by one thing alone: the `Authorization` header holds the token that the hub pinned to a server which
runs now. Cookies, `?token=` and scopes are not looked at. So none of JupyterHub's work to find out who calls and what
they may do is done here: a call is one look-up of the token, does not write to the database, refreshes nobody's login
and is nobody's activity.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, Literal

import pydantic
from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from tornado import web

from jupyterhub_dlaas.bundle.mounts import MountState
from jupyterhub_dlaas.hub.agents import Report, RunningServer
from jupyterhub_dlaas.hub.bundles import NotLoaded, ask_again_seconds, bundle_of
from jupyterhub_dlaas.hub.limits import TokenBucket
from jupyterhub_dlaas.hub.spawner_common import Refused
from jupyterhub_dlaas.oidc.redact import redact

ASK_AGAIN_HEADER = "Dlaas-Ask-Again"
_MAX_REPORT_BYTES = 64 * 1024


def handlers() -> list[tuple[str, type[web.RequestHandler]]]:
    """Routes below the hub's prefix, for `Authenticator.get_handlers`."""
    return [(r"/dlaas/bundle", BundleHandler), (r"/dlaas/report", ReportHandler)]


class AgentHandler(APIHandler):
    """Lets the agent of a running server in and nobody else (403)."""

    _accept_cookie_auth = False

    async def prepare(self) -> None:
        # No `super().prepare()`: it resolves scopes, records activity and refreshes the user's login.
        self._jupyterhub_user = None
        self._token_authenticated = True
        self.expanded_scopes: set[str] = set()
        self.parsed_scopes: dict[str, Any] = {}
        server = self._find_server()
        if server is None:
            raise web.HTTPError(403, "Only the agent of a running server may ask this.")
        self.server = server

    @property
    def dlaas(self) -> Any:
        return self.authenticator.dlaas

    def _find_server(self) -> RunningServer | None:
        token = self.get_auth_token()
        row = None if token is None else orm.APIToken.find(self.db, token)
        if row is None:
            return None
        server: RunningServer | None = self.dlaas.agents.server_of(row.id)
        if server is None or (row.user_id, row.hashed) != (server.spawner.user.id, server.token_hash):
            return None
        return server

    def within(self, limit: TokenBucket) -> None:
        """Raises 429 with `Retry-After` when this server asks too often."""
        wait = limit.take(time.monotonic())
        if wait > 0:
            raise Refused(429, "This server's agent asks too often.", retry_after=wait)

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> None:
        return None  # ours does not depend on when to ask again, tornado's hash of the body would

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        # tornado's line about a refusal has the whole address, and a caller may have put a token in it.
        if not isinstance(value, web.HTTPError):
            super().log_exception(typ, value, tb)

    def _log(self) -> None:
        # One line per agent and poll would bury everything else in the hub's log.
        if self.get_status() >= 400:
            super()._log()


class BundleHandler(AgentHandler):
    """The files of the caller's server and when to ask again."""

    async def get(self) -> None:
        self.within(self.server.bundle_limit)
        try:
            rendered = await bundle_of(self.dlaas, self.server)
        except NotLoaded:
            raise Refused(503, "The hub does not know this server's files yet.", retry_after=5) from None
        seconds = ask_again_seconds(self.dlaas, self.server.spawner.user.name, rendered)
        self.set_header(ASK_AGAIN_HEADER, f"{seconds:.1f}")
        self.set_header("ETag", rendered.etag)
        if self.request.headers.get("If-None-Match") == rendered.etag:
            self.set_status(304)
            self.finish()
        else:
            self.finish(rendered.body(seconds))


class ReportHandler(AgentHandler):
    """Takes what the agent found: mounts alive or dead, files written, problems."""

    async def post(self) -> None:
        self.within(self.server.report_limit)
        if len(self.request.body) > _MAX_REPORT_BYTES:
            raise web.HTTPError(413, "A report is at most 64 KiB.")
        try:
            body = _ReportBody.model_validate_json(self.request.body)
        except pydantic.ValidationError as error:
            fields = sorted({".".join(map(str, problem["loc"])) or "body" for problem in error.errors()})
            raise web.HTTPError(400, f"Not a report, see: {', '.join(fields)}") from None
        report = body.report(self.server.report, self.dlaas.clock.now())
        spawner = self.server.spawner
        if self.dlaas.agents.report(spawner, mounts=report.mounts, problems=report.problems, files=report.files):
            spawner.agent_reported(report)
        self.set_status(204)
        self.finish()


_Text = Annotated[str, pydantic.StringConstraints(max_length=1000)]


class _MountBody(pydantic.BaseModel):
    name: _Text
    path: _Text
    alive: bool
    problem: _Text = ""


class _ReportBody(pydantic.BaseModel):
    version: Literal[1]
    files: int = pydantic.Field(default=0, ge=0)
    mounts: list[_MountBody] = pydantic.Field(default=[], max_length=100)
    problems: list[_Text] = pydantic.Field(default=[], max_length=50)

    def report(self, before: Report | None, now: float) -> Report:
        """The report; a mount that is as it was keeps the instant since when it is so."""
        known = {(mount.name, mount.path): mount for mount in before.mounts} if before else {}
        mounts = []
        for item in self.mounts:
            state = MountState(item.name, item.path, item.alive, redact(item.problem), now)
            old = known.get((item.name, item.path))
            mounts.append(replace(state, since=old.since) if old and old.alive == state.alive else state)
        return Report(tuple(mounts), tuple(redact(problem) for problem in self.problems), self.files, now)

"""`GET /hub/dlaas/status`: what the hub knows about a user's access to the data lake, as a page and as JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from tornado import web

from jupyterhub_dlaas.bundle.token import TokenState
from jupyterhub_dlaas.catalogue.offer import Choice
from jupyterhub_dlaas.hub import renew
from jupyterhub_dlaas.hub.bundles import is_shared
from jupyterhub_dlaas.hub.renew import OwnHandler

_DONE = {
    "renewed": "Renewed. Running servers have the new access within a minute.",
    "partly": "Not everything could be renewed; the last problem says why.",
    "auth-type": "Switched. The server has it within a minute; restart running kernels and terminals that use Rucio.",
}


def handlers() -> list[tuple[str, type[web.RequestHandler]]]:
    """Routes below the hub's prefix, for `Authenticator.get_handlers`."""
    return [(r"/dlaas/status", StatusHandler), *renew.handlers()]


class StatusHandler(OwnHandler):
    """Each running server of the caller: audiences, valid until, last problem, mounts."""

    @web.authenticated
    async def get(self) -> None:
        dlaas, name = self.dlaas, self.current_user.name
        spawners = [spawner for spawner in self.own_spawners() if self.may_use(spawner)]
        now = dlaas.clock.now()
        servers = [server_model(dlaas, spawner) for spawner in spawners]
        self.set_header("Vary", "Accept")
        if self.wants_json:
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps({"user": name, "now": _iso(now), "servers": servers}))
            return
        page = await self.render_template(
            "status.html", servers=servers, done=_DONE.get(self.get_query_argument("done", ""), "")
        )
        self.finish(page)


def server_model(dlaas: Any, spawner: Any) -> dict[str, Any]:
    """One server as JSON has it and the page shows it. Instants are ISO 8601 in UTC; never a token."""
    choice = spawner.current_choice()
    server = dlaas.agents.get(spawner)
    report = None if server is None else server.report
    audiences = () if choice is None else choice.offer.audiences
    states: Mapping[str, TokenState] = dlaas.keeper.peek(spawner.user.name, audiences) or {}
    now = dlaas.clock.now()
    return {
        "name": spawner.name,
        "display_name": getattr(spawner, "display_name", "") or spawner.name,  # JupyterHub 6
        "environment": None if choice is None else choice.offer.id,
        "environment_name": None if choice is None else choice.offer.environment.display_name or choice.offer.id,
        "auth_type": None if choice is None else choice.auth_type,
        "auth_types": [] if choice is None else list(choice.offer.environment.auth_types),
        "starting": spawner.pending == "spawn",
        "withheld": dlaas.config.shared_servers != "allow" and is_shared(spawner),
        "notice": "" if choice is None or not spawner.ready else _whose_tokens(choice, spawner.own_tokens),
        "audiences": [audience_model(key, states.get(key), now) for key in audiences],
        "mounts": [
            {
                "name": mount.name,
                "path": mount.path,
                "alive": mount.alive,
                "problem": mount.problem,
                "since": _iso(mount.since),
            }
            for mount in (() if report is None else report.mounts)
        ],
        "problems": [] if report is None else list(report.problems),
        "reported_at": None if report is None else _iso(report.received_at),
    }


def _whose_tokens(choice: Choice, problem: str | None) -> str:
    """A sentence where the Rucio panel downloads from one instance only; `problem` as in `spawner.own_tokens`."""
    instances = choice.offer.rucio
    if len(instances) < 2 or problem == "":
        return ""
    why = (problem or "the image of this server has no server extension of jupyterhub-dlaas").rstrip(".")
    return f"The Rucio panel downloads from and uploads to {instances[0][1].display_name} alone: {why}."


def audience_model(key: str, state: TokenState | None, now: float) -> dict[str, Any]:
    """One audience: whether there is access now, until when, and the last problem."""
    expires = None if state is None else state.expires_at
    valid = state is not None and state.token is not None and (expires is None or expires > now)
    problem = None if state is None else state.problem
    return {
        "audience": key,
        "valid": valid,
        "valid_until": _iso(expires),
        "renewed_at": None if state is None else _iso(state.renewed_at),
        "problem": None
        if problem is None
        else {"class": problem.label, "message": problem.sentence, "since": _iso(problem.since)},
    }


def _iso(instant: float | None) -> str | None:
    return (
        None
        if instant is None
        else datetime.datetime.fromtimestamp(instant, datetime.UTC).isoformat(timespec="seconds")
    )

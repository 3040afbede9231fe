"""`/control/...`: the stand-in's switches over HTTP, for a demo or a test in another process. JSON in, JSON out.

- `GET /control/counters`, `DELETE /control/counters`; `GET /control/sessions` tells how many logins can be refreshed
- `POST /control/faults` `{"endpoint": "refresh", "status": 503, "times": 2}` (see `Fault`), `DELETE /control/faults`
- `POST /control/settings` `{"token_seconds": 60, "refuse_reuse": true, "latency_seconds": 0.2, "wrong_issuer": "..."}`
- `POST /control/audiences` `{"refuse": "rucio", "like": "keycloak"}` or `{"allow": "rucio"}`
- `POST /control/users/{name}` `{"active": false, "aup_signed": false, "add_groups": [], "remove_groups": [],
  "groups": [], "end_sessions": true}`; with a `password` a new user is made
- `POST /control/clients/{id}` `{"secret": "...", "rotates": false, "redirect_uris": [], "scopes": []}`
- `POST /control/keys` `{"keep_old": true}` rotates; `POST /control/clock` `{"advance": 60}`
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import fields
from typing import Any

from aiohttp import web

from jupyterhub_dlaas.demo.iam.faults import Counters, Faults
from jupyterhub_dlaas.demo.iam.model import Settings, User
from jupyterhub_dlaas.demo.iam.store import Store
from jupyterhub_dlaas.oidc.clock import Clock, ManualClock


class Control:
    """Answers loopback only, and JSON only: a page of another site cannot send that without asking first (CORS)."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, faults: Faults, counters: Counters) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._faults, self._counters = faults, counters

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/control/counters", self._read_counters),
            web.delete("/control/counters", self._clear_counters),
            web.get("/control/sessions", self._count_sessions),
            web.post("/control/faults", self._set_fault),
            web.delete("/control/faults", self._clear_faults),
            web.post("/control/settings", self._set),
            web.post("/control/audiences", self._audiences),
            web.post("/control/users/{name}", self._user),
            web.post("/control/clients/{name}", self._client),
            web.post("/control/keys", self._keys),
            web.post("/control/clock", self._move_clock),
        ]

    async def _read_counters(self, request: web.Request) -> web.Response:
        _loopback(request)
        return web.json_response(self._counters.as_dict())

    async def _clear_counters(self, request: web.Request) -> web.Response:
        _loopback(request)
        self._counters.clear()
        return web.json_response({})

    async def _count_sessions(self, request: web.Request) -> web.Response:
        _loopback(request)
        return web.json_response({"alive": self._store.refreshable(self._clock.now())})

    async def _set_fault(self, request: web.Request) -> web.Response:
        body = await _json(request)
        try:
            self._faults.set(**body)
        except (TypeError, ValueError) as error:
            raise _bad(str(error)) from error
        return web.json_response({"active": len(self._faults.active)})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        _loopback(request)
        self._faults.clear()
        return web.json_response({})

    async def _set(self, request: web.Request) -> web.Response:
        known = {field.name for field in fields(Settings)}
        for name, value in (await _json(request)).items():
            if name in ("latency_seconds", "wrong_issuer"):
                setattr(self._faults, name, value)
            elif name in known:
                setattr(self._settings, name, set(value) if name == "drop_scopes" else value)
            else:
                raise _bad(f"no setting {name!r}; there are {', '.join(sorted(known))}")
        return web.json_response({})

    async def _audiences(self, request: web.Request) -> web.Response:
        body = await _json(request)
        if "refuse" in body:
            self._faults.refuse(str(body["refuse"]), like=body.get("like", "indigo"))
        self._faults.refused_audiences.pop(str(body.get("allow", "")), None)
        return web.json_response({"refused": sorted(self._faults.refused_audiences)})

    async def _user(self, request: web.Request) -> web.Response:
        body, name = await _json(request), request.match_info["name"]
        if name not in self._store.users and "password" not in body:
            raise _bad(f"no user {name!r}; give a password to make one")
        user = self._store.users.setdefault(name, User(name, str(body.get("password", ""))))
        user.password = str(body.get("password", user.password))
        user.active = bool(body.get("active", user.active))
        user.aup_signed = bool(body.get("aup_signed", user.aup_signed))
        removed = set(body.get("remove_groups", ()))
        groups = [*body.get("groups", user.groups), *body.get("add_groups", ())]
        user.groups = list(dict.fromkeys(group for group in groups if group not in removed))
        if body.get("end_sessions"):
            self._store.end_sessions(name)
        self._store.save()
        shown = {"name": name, "active": user.active, "aup_signed": user.aup_signed, "groups": user.groups}
        return web.json_response(shown)

    async def _client(self, request: web.Request) -> web.Response:
        body, client = await _json(request), self._store.clients.get(request.match_info["name"])
        if client is None:
            raise _bad(f"no client {request.match_info['name']!r}")
        client.secret = str(body.get("secret", client.secret))
        client.rotates = bool(body.get("rotates", client.rotates))
        client.redirect_uris = list(body.get("redirect_uris", client.redirect_uris))
        client.scopes = set(body.get("scopes", client.scopes))
        return web.json_response({})

    async def _keys(self, request: web.Request) -> web.Response:
        self._store.keys.rotate(keep_old=bool((await _json(request)).get("keep_old", True)))
        self._store.save()
        return web.json_response({"kids": [key["kid"] for key in self._store.keys.public()["keys"]]})

    async def _move_clock(self, request: web.Request) -> web.Response:
        body = await _json(request)
        if not isinstance(self._clock, ManualClock):
            raise _bad("this clock cannot be moved")
        self._clock.advance(float(body.get("advance", 0)))
        return web.json_response({"now": self._clock.now()})


async def _json(request: web.Request) -> dict[str, Any]:
    _loopback(request)
    if request.content_type != "application/json":
        raise _bad("the body must be application/json")
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise _bad("the body is not JSON") from error
    if not isinstance(body, dict):
        raise _bad("the body must be a JSON object")
    return body


def _loopback(request: web.Request) -> None:
    if not ipaddress.ip_address(request.remote or "0.0.0.0").is_loopback:  # noqa: S104
        raise web.HTTPForbidden(text='{"error": "only from loopback"}', content_type="application/json")


def _bad(sentence: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": sentence}), content_type="application/json")

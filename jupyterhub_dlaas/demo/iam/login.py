"""`/authorize` and the pages on the way: log in, sign the AUP, approve, and a 303 back with `code` and `state`."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from jupyterhub_dlaas.demo.iam import pages
from jupyterhub_dlaas.demo.iam.grants import new_code
from jupyterhub_dlaas.demo.iam.model import Client, Settings, User
from jupyterhub_dlaas.demo.iam.store import Code, Store
from jupyterhub_dlaas.oidc.clock import Clock

# A cookie belongs to a host, not to a port: the hub on the same loopback address must not have one of this name.
COOKIE = "stand-in-iam-session"


class Login:
    """The browser's side of the stand-in IAM."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store, self._settings, self._clock = store, settings, clock

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._home),
            web.get("/authorize", self.authorize),
            web.post("/authorize", self.authorize),
            web.get("/login", self._login_page),
            web.post("/login", self._log_in),
            web.get("/aup/sign", self._aup_page),
            web.post("/aup/sign", self._sign_aup),
            web.get("/logout", self._log_out),
        ]

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """RFC 6749 section 4.1.1. Errors of client or redirect stay here, all others go back to the client."""
        query = request.query
        client = self._store.clients.get(query.get("client_id", ""))
        redirect = query.get("redirect_uri", "")
        if client is None or not client.allows_redirect(redirect):
            what = "this client" if client is None else "this redirect address for the client"
            return self._note("Cannot sign in", f"IAM does not know {what}.", status=400)
        problem = self._problem(client, query)
        if problem:
            return _back(redirect, query, error=problem)
        user = self._user(request)
        # INDIGO IAM answers prompt=none with login_required always, signed in or not; it ignores prompt=login.
        if query.get("prompt") == "none":
            return _back(redirect, query, error="login_required")
        if user is None:
            return _to("/login", to=request.path_qs)
        if not user.aup_signed:
            return _to("/aup/sign", to=request.path_qs)
        scope = query.get("scope", "").split() or sorted(client.scopes)
        approval = (user.name, client.client_id)
        if request.method == "POST":
            form = await request.post()
            if not self._csrf_holds(request, str(form.get("csrf", ""))):
                return self._note("Cannot sign in", "The page was too old. Start the login again.", status=403)
            if form.get("decision") != "authorize":
                return _back(redirect, query, error="access_denied")
            if form.get("remember"):
                self._store.approvals.add(approval)
                self._store.save()
        elif approval not in self._store.approvals:
            return pages.approve(
                client.client_id,
                scope,
                user.name,
                self._csrf(request),
                request.path_qs,
                organisation=self._settings.organisation,
            )
        return _back(redirect, query, code=self._code(client, user, scope, query))

    def _problem(self, client: Client, query: Mapping[str, str]) -> str | None:
        if query.get("response_type") != "code" or "authorization_code" not in client.grants:
            return "unsupported_response_type"
        if not set(query.get("scope", "").split()) <= client.scopes:
            return "invalid_scope"
        return None

    def _code(self, client: Client, user: User, scope: list[str], query: Mapping[str, str]) -> str:
        code = new_code()
        self._store.codes[code] = Code(
            client.client_id,
            user.name,
            query["redirect_uri"],
            scope,
            query.get("nonce"),
            query.get("code_challenge"),
            query.get("code_challenge_method", "plain"),
            self._clock.now() + self._settings.code_seconds,
        )
        return code

    async def _login_page(self, request: web.Request) -> web.StreamResponse:
        return pages.login(_inside(request.query.get("to", "/")), organisation=self._settings.organisation)

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        name, password = str(form.get("username", "")).strip(), str(form.get("password", ""))
        to = _inside(str(form.get("to", "/")))
        user = self._store.users.get(name)
        problem = ""
        if user is None or not hmac.compare_digest(user.password.encode(), password.encode()):
            problem = "User name or password is wrong."
        elif not user.active:
            problem = f"User {name} is not active."
        if user is None or problem:
            return pages.login(to, organisation=self._settings.organisation, problem=problem, user=name)
        cookie = secrets.token_urlsafe(24)
        self._store.sessions[cookie] = user.name
        answer = web.Response(status=302, headers={"Location": to, "Cache-Control": "no-store"})
        answer.set_cookie(COOKIE, cookie, httponly=True, samesite="Lax", secure=request.secure)
        return answer

    async def _aup_page(self, request: web.Request) -> web.StreamResponse:
        if self._user(request) is None:
            return _to("/login", to=request.path_qs)
        to = _inside(request.query.get("to", "/"))
        return pages.aup(to, self._csrf(request), organisation=self._settings.organisation)

    async def _sign_aup(self, request: web.Request) -> web.StreamResponse:
        user, form = self._user(request), await request.post()
        if user is None or not self._csrf_holds(request, str(form.get("csrf", ""))):
            return self._note("Cannot sign", "The page was too old. Open it again.", status=403)
        user.aup_signed = True
        self._store.save()
        return web.Response(status=302, headers={"Location": _inside(str(form.get("to", "/")))})

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        self._store.sessions.pop(request.cookies.get(COOKIE, ""), None)
        answer = self._note("Signed out", "You are signed out of IAM. Sessions elsewhere go on.")
        answer.del_cookie(COOKIE)
        return answer

    async def _home(self, request: web.Request) -> web.StreamResponse:
        user = self._user(request)
        if user is None:
            return _to("/login", to="/")
        member = ", ".join(sorted(user.groups)) or "no group"
        return self._note("Your account", f"You are signed in as {user.name}, member of {member}.")

    def _note(self, title: str, sentence: str, *, status: int = 200) -> web.Response:
        return pages.note(title, sentence, organisation=self._settings.organisation, status=status)

    def _user(self, request: web.Request) -> User | None:
        name = self._store.sessions.get(request.cookies.get(COOKIE, ""))
        user = self._store.users.get(name) if name else None
        return user if user and user.active else None

    def _csrf(self, request: web.Request) -> str:
        return hashlib.sha256(b"csrf:" + request.cookies.get(COOKIE, "").encode()).hexdigest()

    def _csrf_holds(self, request: web.Request, given: str) -> bool:
        return hmac.compare_digest(self._csrf(request), given)


def _inside(to: str) -> str:
    """`to` if it is a path of this server, else the home page: no open redirect."""
    parts = urlsplit(to)
    ours = not parts.scheme and not parts.netloc and to.startswith("/") and not to.startswith(("//", "/\\"))
    return to if ours else "/"


def _to(path: str, *, to: str) -> web.Response:
    return web.Response(
        status=302, headers={"Location": f"{path}?{urlencode({'to': to})}", "Cache-Control": "no-store"}
    )


def _back(redirect: str, query: Mapping[str, str], **values: str) -> web.Response:
    if "state" in query:
        values["state"] = query["state"]
    glue = "&" if urlsplit(redirect).query else "?"
    headers = {"Location": f"{redirect}{glue}{urlencode(values)}", "Cache-Control": "no-store"}
    return web.Response(status=303, headers=headers)

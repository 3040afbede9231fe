"""What a user or their server may say: renew now, another Rucio auth type, whether downloads have their own tokens."""

from __future__ import annotations

import math
import time
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from tornado import escape, web

from jupyterhub_dlaas.hub.limits import TokenBucket
from jupyterhub_dlaas.hub.spawner_common import DLaaSSpawnerMixin, Refused

# Three at once, then one every half minute: enough for a person, too few to trouble IAM.
_PER_SECOND, _BURST = 1 / 30, 3
_LONGEST_PROBLEM = 300


def handlers() -> list[tuple[str, type[web.RequestHandler]]]:
    """Routes below the hub's prefix. The default server's is `/dlaas/servers/auth-type`, it having no name."""
    return [
        (r"/dlaas/renew", RenewHandler),
        (r"/dlaas/servers(?:/([^/]*))?/auth-type", AuthTypeHandler),
        (r"/dlaas/servers(?:/([^/]*))?/own-tokens", OwnTokensHandler),
    ]


class OwnHandler(BaseHandler):
    """For a logged-in user's browser (XSRF checked) or a token of the user that may use one of their servers."""

    _accept_token_auth = True

    async def prepare(self) -> None:
        await super().prepare()
        self.set_header("Cache-Control", "no-store")
        user = self.current_user
        if user is not None and not hasattr(user, "spawners"):
            raise web.HTTPError(403, "This is for users, not for services.")

    def check_xsrf_cookie(self) -> None:
        if getattr(self, "_token_authenticated", False) and self.current_user is not None:
            return  # no browser sends a token by itself
        super().check_xsrf_cookie()

    @property
    def dlaas(self) -> Any:
        return self.authenticator.dlaas

    @property
    def wants_json(self) -> bool:
        """Whether the answer is for a program."""
        return "application/json" in self.request.headers.get("Accept", "")

    def own_spawners(self) -> list[Any]:
        """The caller's servers with the data lake that run or start, by name."""
        spawners = self.current_user.spawners.items()
        return [spawner for _, spawner in sorted(spawners) if spawner.active and isinstance(spawner, DLaaSSpawnerMixin)]

    def may_use(self, spawner: Any) -> bool:
        """A cookie may use all the user's servers; a token those that it can open, so a server's own token itself."""
        if not getattr(self, "_token_authenticated", False):
            return True
        return bool(self.has_scope(f"access:servers!server={self.current_user.name}/{spawner.name}"))

    def own_server(self, name: str | None) -> Any:
        """The caller's running server of this name. HTTP 404 or 403."""
        spawner = next((spawner for spawner in self.own_spawners() if spawner.name == (name or "")), None)
        if spawner is None:
            raise web.HTTPError(404, "You have no running server of this name.")
        if not self.may_use(spawner):
            raise web.HTTPError(403, "This token does not open this server.")
        return spawner

    def json_field(self, name: str) -> Any:
        """A field of the JSON document that was sent; None if it is not there."""
        try:
            body = escape.json_decode(self.request.body)
        except ValueError:
            body = None
        return body.get(name) if isinstance(body, dict) else None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if not self.wants_json:
            super().write_error(status_code, **kwargs)
            return
        error = kwargs.get("exc_info", (None, None))[1]
        message = getattr(error, "jupyterhub_message", None) or getattr(error, "log_message", None) or self._reason
        for name, value in getattr(error, "headers", {}).items():
            self.set_header(name, value)
        self.set_header("Content-Type", "application/json")
        self.finish({"status": status_code, "message": message})

    def done(self, answer: dict[str, Any], said: str) -> None:
        """JSON for a program; a browser goes back to the status page, which says what was done."""
        if self.wants_json or getattr(self, "_token_authenticated", False):
            self.set_header("Content-Type", "application/json")
            self.finish(answer)
        else:
            self.redirect(f"{self.hub.base_url}dlaas/status?done={said}", status=303)


class RenewHandler(OwnHandler):
    """`POST /hub/dlaas/renew`: asks IAM for new tokens now."""

    @web.authenticated
    async def post(self) -> None:
        if getattr(self, "_token_authenticated", False) and not any(map(self.may_use, self.own_spawners())):
            raise web.HTTPError(403, "This token opens none of your running servers.")
        user = self.current_user
        _within(self.settings, user.name)
        keeper = self.dlaas.keeper
        await keeper.renew(user, force=True)
        if keeper.needs_login(user.name):
            raise Refused(
                409, "Your login at IAM has ended. Log out and in again: running servers then go on by themselves."
            )
        problems = self._problems()
        self.done({"renewed": not problems, "problems": problems}, "partly" if problems else "renewed")

    def _problems(self) -> list[str]:
        """What IAM said against the audiences of the running servers, in sentences."""
        choices = [choice for spawner in self.own_spawners() if (choice := spawner.current_choice()) is not None]
        audiences = {key for choice in choices for key in choice.offer.audiences}
        states = self.dlaas.keeper.peek(self.current_user.name, sorted(audiences)) or {}
        return [f"{key}: {state.problem.sentence}" for key, state in states.items() if state.problem is not None]


class AuthTypeHandler(OwnHandler):
    """`POST /hub/dlaas/servers/{name}/auth-type` with `{"auth_type": "x509_proxy"}` as JSON or as a form field."""

    @web.authenticated
    async def post(self, name: str | None = None) -> None:
        spawner = self.own_server(name)
        spawner.switch_auth_type(self._auth_type())
        self.done({"server": spawner.name, "auth_type": spawner.current_choice().auth_type}, "auth-type")

    def _auth_type(self) -> str:
        if self.request.headers.get("Content-Type", "").startswith("application/json"):
            value = self.json_field("auth_type")
        else:
            value = self.get_body_argument("auth_type", None)
        if not isinstance(value, str):
            raise web.HTTPError(400, 'Give the auth type, as {"auth_type": "oidc"}.')
        return value


class OwnTokensHandler(OwnHandler):
    """`POST /hub/dlaas/servers/{name}/own-tokens` with `{"problem": ""}`: said by our extension of the Jupyter server.

    With an empty problem downloads and uploads of each Rucio instance use that instance's own token.
    """

    @web.authenticated
    async def post(self, name: str | None = None) -> None:
        spawner = self.own_server(name)
        problem = self.json_field("problem")
        if not isinstance(problem, str) or len(problem) > _LONGEST_PROBLEM:
            raise web.HTTPError(400, f'Give {{"problem": "..."}} of at most {_LONGEST_PROBLEM} characters.')
        spawner.own_tokens = problem
        spawner.save_state()
        self.set_status(204)
        self.finish()


def _within(settings: dict[str, Any], name: str) -> None:
    limits: dict[str, TokenBucket] = settings.setdefault("dlaas_renew_limits", {})
    wait = limits.setdefault(name, TokenBucket(_PER_SECOND, _BURST)).take(time.monotonic())
    if wait > 0:
        raise Refused(429, f"You have just renewed. Try again in {math.ceil(wait)} seconds.", retry_after=wait)

"""The pages of a login: to IAM with PKCE, state and nonce, back with a code, and out again."""

from __future__ import annotations

import html
import secrets
from typing import Any, cast

from oauthenticator.oauth2 import (
    OAuthCallbackHandler,
    OAuthLoginHandler,
    OAuthLogoutHandler,
    _deserialize_state,
    _serialize_state,
)
from tornado import web

from jupyterhub_dlaas.errors import AccountDisabled, DLaaSError, IAMError, NoEntitlement, Outage, UserAction
from jupyterhub_dlaas.hub.keeper import NewSession
from jupyterhub_dlaas.hub.service import has_servers
from jupyterhub_dlaas.hub.session import session_of


class IAMLoginHandler(OAuthLoginHandler):
    """Sends the browser to IAM; 503 with a sentence when IAM was never reached since the hub started."""

    _nonce = ""

    async def get(self) -> None:
        try:
            await self.authenticator.dlaas.issuer.endpoints()
        except IAMError as error:
            raise refused(error, self.authenticator) from error
        super().get()

    @property
    def _OAUTH_AUTHORIZE_URL(self) -> str:  # noqa: N802 - the name is OAuth2Mixin's
        known = self.authenticator.dlaas.issuer.known
        return known.authorization if known else ""

    def set_state_cookie(self, state_cookie_value: str) -> None:
        # The state is signed into a cookie of this browser; the nonce goes with it and is compared with the id_token's
        # (OpenID Connect Core 1.0, section 15.5.2).
        self._nonce = secrets.token_urlsafe(24)
        state = {**_deserialize_state(state_cookie_value), "nonce": self._nonce}
        super().set_state_cookie(_serialize_state(state))

    def authorize_redirect(self, *args: Any, **kwargs: Any) -> None:
        kwargs["extra_params"] = {**(kwargs.get("extra_params") or {}), "nonce": self._nonce}
        super().authorize_redirect(*args, **kwargs)


class IAMCallbackHandler(OAuthCallbackHandler):
    """Receives the code. What JupyterHub saves at a login is saved while no renewal can come between."""

    def login_nonce(self) -> str | None:
        """The nonce of the login that this browser began."""
        nonce = _deserialize_state(self.get_state_cookie()).get("nonce")
        return nonce if isinstance(nonce, str) else None

    async def auth_to_user(self, authenticated: Any, user: Any = None) -> Any:
        keeper, name = self.authenticator.dlaas.keeper, authenticated["name"]
        refusals = authenticated.pop("dlaas_refused", {})
        session = session_of(authenticated.get("auth_state"))
        if session is None:
            return await super().auth_to_user(authenticated, user)
        known = self.find_user(name)
        keeper.release(name, None if known is None else known.id)
        async with keeper.opening(name):
            before = keeper.session(name)
            if before is not None and (before.issuer, before.subject) != (session.issuer, session.subject):
                # The first logins of two people with one name, at the same moment.
                raise page(403, f"The name {name!r} on this hub belongs to another account of IAM.", self.authenticator)
            user = await super().auth_to_user(authenticated, user)
            await keeper.login(name, NewSession(session, refusals))
        if has_servers(user):
            self.authenticator.dlaas.refresh.watch(user)
        return user


class IAMLogoutHandler(OAuthLogoutHandler):
    """With a server running the session stays, so that it lives on; without, tokens are forgotten and revoked."""

    async def handle_logout(self) -> None:
        await super().handle_logout()
        user = self.current_user
        if user is not None and not has_servers(user):
            await self.authenticator.dlaas.keeper.forget(user.name, user)


def refused(error: DLaaSError, authenticator: Any) -> web.HTTPError:
    """The page for a login that failed: what IAM said, in plain words, and whom to ask."""
    status = 500
    if isinstance(error, Outage):
        status = 503
    elif isinstance(error, (UserAction, AccountDisabled, NoEntitlement)):
        status = 403
    elif isinstance(error, IAMError) and error.label == "dead_session":
        status = 400
    return page(status, error.sentence(), authenticator, retry_after=getattr(error, "retry_after", None))


def page(status: int, sentence: str, authenticator: Any, *, retry_after: float | None = None) -> web.HTTPError:
    """An error page of JupyterHub with this sentence (escaped by its template)."""
    error: Any = web.HTTPError(status, "%s", sentence)
    error.jupyterhub_message = f"{sentence} Contact: {authenticator.dlaas.config.contact}."
    if status == 503:
        error.headers = {"Retry-After": str(int(retry_after or 30))}
    return cast(web.HTTPError, error)


def own_browser(user: Any, handler: Any) -> bool:
    """Whether sending this request to the login page can help: not a token's, not another user's request.

    JupyterHub 5.5 answers a token's request with 403 when `refresh_user` says False.
    """
    if handler is None:
        return True
    if getattr(handler, "_token_authenticated", False) or getattr(handler, "_jupyterhub_user", user) is not user:
        return False
    handler._token_authenticated = False  # JupyterHub 6.1.1 reads it without having set it
    return True


def not_answering(issuer_url: str) -> str:
    """What the login page shows instead of its button while IAM does not answer: a template of Jinja."""
    return _NOT_ANSWERING.replace("HOST", html.escape(issuer_url).replace("{", "").replace("}", ""))


_NOT_ANSWERING = """
<div class="service-login">
  <p class="alert alert-warning" role="status">The identity provider HOST does not answer at the moment, so a login may
  have to wait. Running servers are not touched. The hub keeps trying by itself.</p>
  <a role="button" class="btn btn-jupyter btn-lg" href="{{ authenticator_login_url | e }}">Try to sign in</a>
</div>
"""

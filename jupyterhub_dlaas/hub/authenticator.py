"""Logs users in at their experiment's IAM: a GenericOAuthenticator that one `issuer_url` configures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyterhub.utils import maybe_future
from oauthenticator.generic import GenericOAuthenticator
from tornado import web
from traitlets import Dict, Float, Unicode, default, validate

from jupyterhub_dlaas.errors import ConfigError, IAMError, OperatorError
from jupyterhub_dlaas.hub import status, token_api
from jupyterhub_dlaas.hub.config import DLaaSConfig
from jupyterhub_dlaas.hub.flow import Login
from jupyterhub_dlaas.hub.login import (
    IAMCallbackHandler,
    IAMLoginHandler,
    IAMLogoutHandler,
    not_answering,
    own_browser,
    page,
    refused,
)
from jupyterhub_dlaas.hub.plan import Assessment
from jupyterhub_dlaas.hub.renewal import asked
from jupyterhub_dlaas.hub.service import Client, DLaaS
from jupyterhub_dlaas.hub.session import KEY, Session
from jupyterhub_dlaas.hub.setup import speak_plainly
from jupyterhub_dlaas.oidc import claims
from jupyterhub_dlaas.oidc.model import Grant
from jupyterhub_dlaas.oidc.secret import Secret

_PATIENCE_SECONDS = 2.0
"""How long a page of the hub waits for IAM when the user's token has expired; the renewal itself goes on."""


class IAMAuthenticator(GenericOAuthenticator):
    """All of GenericOAuthenticator's settings keep their meaning; groups are compared without a leading slash."""

    login_handler = IAMLoginHandler
    callback_handler = IAMCallbackHandler
    logout_handler = IAMLogoutHandler

    issuer_url = Unicode(
        config=True,
        help="""The issuer: an INDIGO IAM or a Keycloak realm. All endpoints are found through it, unless
        `authorize_url`, `token_url` or `userdata_url` are set. Example: `"https://iam.example.org/"`.""",
    )
    audiences = Dict(
        config=True,
        help="""For whom tokens are exchanged. Key: the name that catalogues, files and the status page use. Value:
        `audience` (default: the key), `scopes` (default: `openid profile`), `required_for` (VOs whose members cannot
        work without it).
        Example: `{"rucio": {"required_for": ["escape"]}, "eos-eulake": {}}`.""",
    )
    client_secret_file = Unicode(
        config=True, help="A file that holds the client secret, instead of `client_secret` or `$OAUTH_CLIENT_SECRET`."
    )
    ca_file = Unicode(
        config=True,
        help="A PEM file with the certificate authorities for IAM's certificate. Default: the system's.",
    )
    timeout_seconds = Float(
        30.0, config=True, help="How long IAM may take to answer; loaded ones need up to 20 seconds."
    )

    def __init__(self, **kwargs: Any) -> None:
        speak_plainly()
        super().__init__(**kwargs)
        self.dlaas = DLaaS(DLaaSConfig(parent=self), self._client(), self.audiences, self._assess)

    # ---- settings

    @default("login_service")
    def _login_service_default(self) -> str:
        host = self.issuer_url.partition("://")[2].partition("/")[0]
        return os.environ.get("LOGIN_SERVICE") or host or "IAM"

    @default("username_claim")
    def _username_claim_default(self) -> str:
        return os.environ.get("OAUTH2_USERNAME_KEY") or "preferred_username"

    @default("scope")
    def _scope_default(self) -> list[str]:
        # offline_access, because only with a refresh token a session outlives an hour.
        return ["openid", "profile", "email", "offline_access"]

    @default("manage_groups")
    def _manage_groups_default(self) -> bool:
        return True

    @default("enable_auth_state")
    def _enable_auth_state_default(self) -> bool:
        return True

    @default("basic_auth")
    def _basic_auth_default(self) -> bool:
        # What INDIGO IAM and Keycloak register a new client with; newer IAMs accept nothing else then.
        return os.environ.get("OAUTH2_BASIC_AUTH", "true").lower() in ("true", "1")

    @default("auth_state_groups_key")
    def _auth_state_groups_key_default(self) -> Any:
        return super()._auth_state_groups_key_default() if os.environ.get("OAUTH2_GROUPS_KEY") else self._iam_groups

    @validate("allowed_groups", "admin_groups")
    def _no_leading_slash(self, proposal: Any) -> set[str]:
        return {group.strip("/") for group in proposal["value"]}

    def _client(self) -> Client:
        if not self.issuer_url:
            raise ConfigError(
                "c.IAMAuthenticator.issuer_url is not set.",
                hint='Set it to your issuer, such as "https://iam.example.org/".',
            )
        if not self.client_id:
            raise ConfigError("c.IAMAuthenticator.client_id is not set.", hint="Register the hub as a client at IAM.")
        if not self.validate_server_cert:
            raise ConfigError(
                "c.IAMAuthenticator.validate_server_cert is False, but tokens are only sent to a server that is known.",
                hint="Name the certificate authority in c.IAMAuthenticator.ca_file.",
            )
        return Client(
            issuer_url=self.issuer_url,
            client_id=self.client_id,
            client_secret=Secret(self._secret()),
            client_auth="basic" if self.basic_auth else "post",
            ca_file=self.ca_file or self.http_request_kwargs.get("ca_certs") or None,
            timeout_seconds=self.timeout_seconds,
            overrides={"authorization": self.authorize_url, "token": self.token_url, "userinfo": self.userdata_url},
        )

    def _secret(self) -> str:
        if self.client_secret_file:
            try:
                return Path(self.client_secret_file).read_text().strip()
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"c.IAMAuthenticator.client_secret_file = {self.client_secret_file!r} cannot be read: {error}."
                ) from None
        if not self.client_secret:
            raise ConfigError(
                "The hub has no client secret for IAM.",
                hint="Set c.IAMAuthenticator.client_secret, client_secret_file or $OAUTH_CLIENT_SECRET.",
            )
        return str(self.client_secret)

    # ---- JupyterHub's hooks

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """OAuthenticator's, the token API and the status page."""
        self.dlaas.start(app)
        return [*super().get_handlers(app), *token_api.handlers(), *status.handlers()]

    def get_custom_html(self, base_url: str) -> str:
        """The login page says so when IAM does not answer."""
        dlaas = self.dlaas
        if self.custom_html or not (dlaas.health.down or dlaas.issuer.known is None):
            return str(super().get_custom_html(base_url))
        return not_answering(self.issuer_url)

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Spends the code, then asks for userinfo and for one token per audience, all at once."""
        wanted = self.build_access_tokens_request_params(handler, data)
        try:
            grant = await asked(
                self.dlaas.means,
                "code",
                self.dlaas.client.code(
                    wanted["code"], redirect_uri=wanted["redirect_uri"], code_verifier=wanted.get("code_verifier")
                ),
            )
            return await Login(self, handler, grant).auth_model()
        except IAMError as error:
            self.log.warning("login class=%s %s", error.label, error.sentence())
            raise refused(error, self) from error

    async def run_post_auth_hook(self, handler: Any, auth_model: dict[str, Any]) -> dict[str, Any]:
        """After the user was found allowed: refuses the login without an audience that their VO cannot work without."""
        vos = set(self.dlaas.vos_of(auth_model.get("groups") or ()))
        for key, error in auth_model.get("dlaas_refused", {}).items():
            if self.dlaas.audiences[key].required_for & vos:
                self.log.warning("user=%s audience=%s class=%s login stopped", auth_model["name"], key, error.label)
                names = ", ".join(sorted(self.dlaas.audiences[key].required_for & vos))
                error.message = f"{error.message} Without it you cannot work with {names}."
                raise refused(error, self)
        return dict(await super().run_post_auth_hook(handler, auth_model))

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool:
        """True, or False when only a new login helps and this is the user's own browser. Never a dict: one writer.

        Costs a look into memory. IAM is waited for, a moment, only when the login's own token has expired and a
        browser could be sent to a new login; a token's request gets the same answer whatever IAM says.
        """
        if self.refresh_user_hook is not None:
            answer = await self._call_refresh_user_hook(user, await user.get_auth_state())
            if answer is not None:
                return bool(answer)
        keeper, dlaas, name = self.dlaas.keeper, self.dlaas, user.name
        renewal = await keeper.check_account(user)
        if not own_browser(user, handler):
            return True
        session = keeper.session(name)
        if session is not None and renewal is not None:
            expired = session.access is None or session.access.expires_at <= dlaas.clock.now()
            if expired and not dlaas.health.down:
                await asyncio.wait({renewal}, timeout=_PATIENCE_SECONDS)
        return not keeper.needs_login(name)

    async def pre_spawn_start(self, user: Any, spawner: Any) -> None:
        """Who may no longer log in starts no server; from now on the user's tokens are kept alive."""
        keeper = self.dlaas.keeper
        await keeper.renew(user, account_only=True)
        session = keeper.session(user.name)
        if session is not None and not session.allowed:
            raise page(403, "IAM no longer lists you in a group that may use this hub.", self)
        self.dlaas.refresh.watch(user)

    async def post_spawn_stop(self, user: Any, spawner: Any) -> None:
        """After the user's last server nothing is renewed any more."""
        if not any(other is not spawner and other.active for other in user.spawners.values()):
            self.dlaas.refresh.unwatch(user.name)

    async def delete_user(self, user: Any) -> None:
        """Forgets the user's tokens and revokes the session at IAM."""
        self.dlaas.refresh.unwatch(user.name)
        await self.dlaas.keeper.load(user)
        await self.dlaas.keeper.forget(user.name)
        super().delete_user(user)

    # ---- OAuthenticator's seams

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """The user's name on the hub. Raises OperatorError where IAM does not say it."""
        try:
            return str(super().user_info_to_username(user_info))
        except ValueError:
            raise OperatorError(
                f"This hub names its users after what IAM says in {self.username_claim!r}, and it says nothing there.",
                hint="An administrator of the hub should check c.IAMAuthenticator.username_claim and scope.",
            ) from None

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """Userinfo, by the client that never logs a token."""
        known = token_info.get("user_info")
        if known is not None:
            return dict(known)
        if self.userdata_from_id_token:
            return claims.unverified_claims(Secret(token_info["id_token"]))
        token = Secret(token_info["access_token"])
        return await asked(self.dlaas.means, "userinfo", self.dlaas.client.userinfo(token))

    def build_auth_state_dict(self, token_info: dict[str, Any], user_info: dict[str, Any]) -> dict[str, Any]:
        """What GenericOAuthenticator's users know, without the copies that would double its size."""
        tokens = [Secret(token_info[name]) for name in ("access_token", "id_token") if token_info.get(name)]
        named = frozenset().union(*(claims.groups(claims.unverified_claims(token)) for token in tokens))
        return {
            "access_token": token_info["access_token"],
            "refresh_token": token_info.get("refresh_token"),
            "scope": sorted(token_info.get("scope", "").split()),
            self.user_auth_state_key: user_info,
            KEY: {"token_groups": sorted(named)},
        }

    async def get_user_groups(self, auth_state: dict[str, Any]) -> set[str]:
        """By `auth_state_groups_key`, without leading slash."""
        return {group.strip("/") for group in await maybe_future(super().get_user_groups(auth_state))}

    def _iam_groups(self, auth_state: Mapping[str, Any]) -> frozenset[str]:
        """The default `auth_state_groups_key`: every spelling of groups, in userinfo and in the tokens."""
        named = (auth_state.get(KEY) or {}).get("token_groups", ())
        return claims.groups(auth_state.get(self.user_auth_state_key) or {}) | frozenset(named)

    async def auth_model_of(self, grant: Grant, user_info: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The auth model of an answer of IAM, as GenericOAuthenticator builds it, hooks included."""
        token_info = {
            "access_token": grant.access_token.reveal(),
            "refresh_token": grant.refresh_token.reveal() if grant.refresh_token else None,
            "id_token": grant.id_token.reveal() if grant.id_token else None,
            "token_type": "Bearer",
            "scope": " ".join(grant.scope),
            "user_info": user_info,
        }
        return dict(await self._token_to_auth_model(token_info))

    async def _assess(self, user: Any, grant: Grant, info: Mapping[str, Any], session: Session) -> Assessment:
        auth_model = await self.auth_model_of(grant, info)
        ours = ("access_token", "refresh_token", KEY)
        found = {name: value for name, value in auth_model["auth_state"].items() if name not in ours}
        return Assessment(
            groups=frozenset(auth_model["groups"]) if self.manage_groups else None,
            admin=auth_model["admin"],
            allowed=await self._allowed(user.name, auth_model),
            others={**session.others, **found},
        )

    async def _allowed(self, name: str, auth_model: dict[str, Any]) -> bool:
        try:
            if not await maybe_future(self.check_blocked_users(name, auth_model)):
                return False
            return bool(self.allow_all or await maybe_future(self.check_allowed(name, auth_model)))
        except web.HTTPError:
            return False

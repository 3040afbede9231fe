"""`POST /token`: the four grants, with INDIGO IAM's habits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import uuid
from typing import Any

from aiohttp import web
from multidict import MultiDictProxy

from jupyterhub_dlaas.demo.iam import errors
from jupyterhub_dlaas.demo.iam.errors import RefusalError
from jupyterhub_dlaas.demo.iam.faults import Faults
from jupyterhub_dlaas.demo.iam.model import EXCHANGE, Client, Settings, User
from jupyterhub_dlaas.demo.iam.store import Access, Refresh, Store, digest
from jupyterhub_dlaas.demo.iam.tokens import Mint
from jupyterhub_dlaas.oidc.clock import Clock

Form = MultiDictProxy[Any]


def authenticate(store: Store, request: web.Request, form: Form) -> Client:
    """The client, by Basic or by the body. Basic carries id and secret raw: RFC 6749's form-encoding is refused."""
    header = request.headers.get("Authorization", "")
    if header.startswith("Basic "):
        try:
            client_id, _, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise errors.bad_credentials("basic", "") from None
        method = "basic"
    else:
        client_id, secret, method = str(form.get("client_id", "")), str(form.get("client_secret", "")), "post"
    client = store.clients.get(client_id)
    if client is None or not hmac.compare_digest(client.secret.encode(), secret.encode()):
        raise errors.bad_credentials(method, client_id)
    return client


class Grants:
    """The token endpoint without its HTTP: a form in, a token response or a `RefusalError` out."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, mint: Mint, faults: Faults) -> None:
        self._store, self._settings, self._clock, self._mint, self._faults = store, settings, clock, mint, faults

    def code(self, client: Client, form: Form) -> dict[str, Any] | None:
        """RFC 6749 section 4.1.3 with RFC 7636. None stands for the 500 that a missing PKCE verifier gives."""
        code = self._store.codes.get(str(form.get("code", "")))
        fresh = code is not None and not code.used and code.expires_at > self._clock.now()
        if code is None or not fresh or code.client_id != client.client_id:
            raise RefusalError(400, "invalid_grant", f"Invalid authorization code: {form.get('code', '')}")
        if code.redirect_uri != form.get("redirect_uri"):
            raise RefusalError(400, "invalid_grant", "Redirect URI mismatch.")
        if code.challenge is not None:
            verifier = form.get("code_verifier")
            if verifier is None:
                return None
            hashed = base64.urlsafe_b64encode(hashlib.sha256(str(verifier).encode()).digest()).rstrip(b"=").decode()
            if (hashed if code.method == "S256" else verifier) != code.challenge:
                raise RefusalError(400, "invalid_request", "Code challenge and verifier do not match")
        code.used = True
        return self._mint.session(client, self._store.users[code.user], code.scope, code.nonce)

    def refresh(self, client: Client, form: Form) -> dict[str, Any]:
        """RFC 6749 section 6. With rotation the old refresh token and its access token die at once."""
        token = str(form.get("refresh_token", ""))
        kept = self._store.refresh.get(digest(token))
        now = self._clock.now()
        if kept is None or kept.expires_at <= now or kept.user not in self._store.users:
            raise errors.bad_refresh_token(token)
        if kept.client_id != client.client_id:
            raise RefusalError(401, "invalid_client", "Client does not own the presented refresh token")
        user = self._store.users[kept.user]
        if not user.active:
            raise errors.inactive_user(user.name)
        if not user.aup_signed:
            raise errors.aup_unsigned(user.name)
        window = self._settings.race_window_seconds
        if kept.used_at is not None and (window <= 0 or now - kept.used_at > window):
            raise self._reused(kept, token)
        self._store.access.pop(kept.access, None)
        access = self._mint.access(client, user, kept.scope)
        identity = self._mint.identity(client, user, kept.scope, kept.nonce) if "openid" in kept.scope else None
        if not client.rotates:
            kept.access = digest(access)
            return self._mint.answer(access, kept.scope, refresh_token=token, id_token=identity)
        kept.used_at = now if kept.used_at is None else kept.used_at
        following = self._mint.refresh(client, user, kept.scope, kept.nonce, access, kept.family)
        return self._mint.answer(access, kept.scope, refresh_token=following, id_token=identity)

    def _reused(self, kept: Refresh, token: str) -> RefusalError:
        if self._settings.refuse_reuse:
            self._store.end_family(kept.family)
            return RefusalError(400, "invalid_grant", "Maximum allowed refresh token reuse exceeded")
        return errors.bad_refresh_token(token)

    def exchange(self, client: Client, form: Form) -> dict[str, Any] | None:
        """RFC 8693 section 2. None stands for the 500 that a missing subject gives."""
        if "actor_token" in form:
            raise RefusalError(400, "invalid_request", "Delegation (actor_token) is not supported.")
        if not form.get("subject_token"):
            return None
        token = str(form["subject_token"])
        subject = self._mint.alive(token)
        if subject is None:
            raise errors.bad_access_token(token)
        scope = str(form.get("scope", "")).split()
        if not scope:
            raise RefusalError(400, "invalid_request", "The scope parameter is required for a token exchange request!")
        if "offline_access" in scope and subject.client_id == client.client_id:
            raise RefusalError(
                403, "access_denied", "Token exchange with offline_access is not allowed for this client."
            )
        scope = self._allowed(client, scope)
        user = self._user(subject)
        if user is None:
            raise errors.bad_access_token(token)
        if not user.aup_signed:
            raise errors.aup_unsigned(user.name)
        # Whether the account is active is not asked here: INDIGO IAM exchanges for a disabled one.
        audience = str(form.get("audience", "")).split()
        self._refuse(audience)
        access = self._mint.access(client, user, scope, audience=audience, actor=client.client_id)
        identity = self._mint.identity(client, user, scope, None) if "openid" in scope else None
        return self._mint.answer(
            access,
            scope,
            id_token=identity,
            issued_token_type="urn:ietf:params:oauth:token-type:jwt",  # noqa: S106
        )

    def _refuse(self, audience: list[str]) -> None:
        for name in audience:
            match self._faults.refused_audiences.get(name):
                case "indigo":
                    raise RefusalError(403, "access_denied", f"Policy forbids the audience {name}")
                case "keycloak":
                    raise RefusalError(400, "invalid_request", f"Requested audience not available: {name}")

    def client_credentials(self, client: Client, form: Form) -> dict[str, Any]:
        """RFC 6749 section 4.4: a token of the client's own, no refresh token."""
        scope = self._allowed(client, str(form.get("scope", "")).split() or sorted(client.scopes))
        audience = str(form.get("audience", "")).split()
        return self._mint.answer(self._mint.access(client, None, scope, audience=audience), scope)

    def _allowed(self, client: Client, scope: list[str]) -> list[str]:
        for name in scope:
            if name not in client.scopes:
                raise RefusalError(400, "invalid_scope", f"Invalid scope: {name}")
        return [name for name in scope if name not in self._settings.drop_scopes]

    def _user(self, subject: Access) -> User | None:
        return self._store.users.get(subject.user) if subject.user else None

    def run(self, client: Client, form: Form) -> dict[str, Any] | None:
        """Dispatches on `grant_type`."""
        grant = str(form.get("grant_type", ""))
        if grant not in client.grants:
            if grant in ("authorization_code", "refresh_token", "client_credentials", EXCHANGE):
                raise errors.grant_missing(grant)
            raise RefusalError(400, "unsupported_grant_type", f"Unsupported grant type: {grant}")
        match grant:
            case "authorization_code":
                return self.code(client, form)
            case "refresh_token":
                return self.refresh(client, form)
            case "client_credentials":
                return self.client_credentials(client, form)
            case _:
                return self.exchange(client, form)


def new_code() -> str:
    return uuid.uuid4().hex[:12]

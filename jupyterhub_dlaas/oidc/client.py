"""The hub as a client of IAM: code, refresh, exchange, userinfo and revocation, each one request and one answer."""

from __future__ import annotations

import base64
from typing import Any, Literal

from jupyterhub_dlaas.errors import ConfigError, IAMError, OperatorError, Outage
from jupyterhub_dlaas.oidc import claims
from jupyterhub_dlaas.oidc.classify import Operation, classify
from jupyterhub_dlaas.oidc.clock import Clock
from jupyterhub_dlaas.oidc.http import HTTP, Answer
from jupyterhub_dlaas.oidc.issuer import Issuer
from jupyterhub_dlaas.oidc.model import AudienceSpec, Grant
from jupyterhub_dlaas.oidc.redact import redact
from jupyterhub_dlaas.oidc.secret import Secret

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type


class IAMClient:
    """Every method raises one of the seven classes of `IAMError`; none tries anything twice, that is the keeper's part.

    `client_auth` "basic" sends id and secret as they are: INDIGO IAM refuses the form-encoding that RFC 6749 section
    2.3.1 asks for, and Keycloak takes both for secrets of plain characters. "post" sends them in the body.
    """

    def __init__(
        self,
        issuer: Issuer,
        http: HTTP,
        clock: Clock,
        *,
        client_id: str,
        client_secret: Secret,
        client_auth: Literal["basic", "post"] = "basic",
    ) -> None:
        if client_auth not in ("basic", "post"):
            raise ConfigError(f"The client authentication {client_auth!r} is not known.", hint="Use 'basic' or 'post'.")
        if client_auth == "basic" and ":" in client_id:
            raise ConfigError(
                f"The client_id {client_id!r} holds a colon, which Basic authentication cannot carry.",
                hint="Use client authentication 'post'.",
            )
        self._issuer = issuer
        self._http = http
        self._clock = clock
        self._secret = client_secret
        self._headers: dict[str, str] = {}
        self._body: dict[str, str] = {}
        if client_auth == "basic":
            pair = base64.b64encode(f"{client_id}:{client_secret.reveal()}".encode()).decode()
            self._headers = {"Authorization": f"Basic {pair}"}
        else:
            self._body = {"client_id": client_id, "client_secret": client_secret.reveal()}

    async def code(self, code: str, *, redirect_uri: str, code_verifier: str | None) -> Grant:
        """Spends the code of a login (RFC 6749 section 4.1.3), with PKCE's verifier (RFC 7636) where one was used."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        hide = [Secret(code)]
        if code_verifier is not None:
            form["code_verifier"] = code_verifier
            hide.append(Secret(code_verifier))
        return await self._grant("code", form, hide=hide)

    async def refresh(self, refresh_token: Secret) -> Grant:
        """Spends a refresh token (RFC 6749 section 6). Store the one that comes back before doing anything else."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        return await self._grant("refresh", form, hide=[refresh_token])

    async def exchange(self, subject: Secret, audience: AudienceSpec) -> Grant:
        """A token for one audience (RFC 8693 section 2.1), checked to be for it, from this issuer and still valid.

        INDIGO IAM gives a token for whatever was asked, or for nobody, so the answer is looked at.
        """
        # The scope is said because INDIGO IAM demands it, the type because Keycloak does. `resource` is never sent:
        # newer INDIGO IAMs let it override the audience.
        form = {
            "grant_type": _EXCHANGE,
            "subject_token": subject.reveal(),
            "subject_token_type": _ACCESS_TOKEN,
            "requested_token_type": _ACCESS_TOKEN,
            "audience": audience.audience,
            "scope": " ".join(scope for scope in audience.scopes if scope != "offline_access"),
        }
        try:
            grant = await self._grant("exchange", form, hide=[subject], audience=audience)
            self._check(grant, audience)
        except IAMError as error:
            # A time-out knows nothing of audiences; whoever shows it does.
            error.audience = audience.key
            raise
        return grant

    async def userinfo(self, access_token: Secret) -> dict[str, Any]:
        """The claims of the user (OpenID Connect Core 1.0, section 5.3)."""
        url = (await self._issuer.endpoints()).userinfo
        headers = {"Authorization": f"Bearer {access_token.reveal()}"}
        answer = await self._http.request("GET", url, headers=headers)
        return self._object("userinfo", answer, hide=[access_token])

    async def revoke(self, token: Secret) -> None:
        """Ends a token (RFC 7009), and with a refresh token its access token; nothing when IAM offers no revocation."""
        url = (await self._issuer.endpoints()).revocation
        if url is None:
            return
        answer = await self._http.request(
            "POST", url, data={"token": token.reveal(), **self._body}, headers=self._headers
        )
        if answer.status not in (200, 204):
            raise self._error("revoke", answer, hide=[token])

    async def _grant(
        self, operation: Operation, form: dict[str, str], *, hide: list[Secret], audience: AudienceSpec | None = None
    ) -> Grant:
        url = (await self._issuer.endpoints()).token
        # Before the request: time that IAM takes is taken off the token's life, never added.
        asked_at = self._clock.now()
        answer = await self._http.request("POST", url, data={**form, **self._body}, headers=self._headers)
        body = self._object(operation, answer, hide=hide, audience=audience)
        access_token = _token(body, "access_token")
        if access_token is None:
            raise Outage(f"IAM answered {_WORDS[operation]} without a token.", hint="This is tried again by itself.")
        refresh_token = _token(body, "refresh_token")
        scope = body.get("scope")
        if not isinstance(scope, str):
            scope = claims.unverified_claims(access_token).get("scope")
        return Grant(
            access_token=access_token,
            expires_at=claims.expiry(access_token, expires_in=claims.number(body.get("expires_in")), now=asked_at),
            refresh_token=refresh_token,
            refresh_expires_at=_refresh_expiry(refresh_token, claims.number(body.get("refresh_expires_in")), asked_at),
            id_token=_token(body, "id_token"),
            # RFC 6749 section 5.1: no scope in the answer means the one that was asked for.
            scope=frozenset((scope if isinstance(scope, str) else form.get("scope", "")).split()),
            received_at=self._clock.now(),
        )

    def _object(
        self, operation: Operation, answer: Answer, *, hide: list[Secret], audience: AudienceSpec | None = None
    ) -> dict[str, Any]:
        body = answer.json() if answer.status == 200 else None
        if not isinstance(body, dict):
            raise self._error(operation, answer, hide=hide, audience=audience)
        return body

    def _error(
        self, operation: Operation, answer: Answer, *, hide: list[Secret], audience: AudienceSpec | None = None
    ) -> IAMError:
        return classify(
            operation,
            answer,
            audience=audience.key if audience else None,
            now=self._clock.now(),
            issuer_url=self._issuer.url,
            hide=[*hide, self._secret],
        )

    def _check(self, grant: Grant, audience: AudienceSpec) -> None:
        found = claims.unverified_claims(grant.access_token)
        aud = claims.audiences(found)
        if audience.audience not in aud:
            said = f"is for {redact(', '.join(sorted(aud)))}" if aud else "names no audience"
            raise OperatorError(
                f"IAM was asked for a token for {audience.audience} and gave one that {said}.",
                hint=f"An administrator of the hub should check audiences[{audience.key!r}] and the client at IAM.",
            )
        if not claims.same_issuer(found.get("iss"), self._issuer.url):
            raise OperatorError(
                f"The token for {audience.audience} is from {str(found.get('iss'))[:200]}, not {self._issuer.url}.",
                hint="An administrator of the hub should check issuer_url.",
            )
        if grant.expires_at <= self._clock.now():
            raise OperatorError(
                f"The token for {audience.audience} had expired when it came.",
                hint="An administrator should check that the clocks of the hub and of IAM are right.",
            )


_WORDS: dict[str, str] = {"code": "a login", "refresh": "a refresh", "exchange": "an exchange"}


def _token(body: dict[str, Any], name: str) -> Secret | None:
    value = body.get(name)
    return Secret(value) if isinstance(value, str) and value else None


def _refresh_expiry(token: Secret | None, expires_in: float | None, now: float) -> float | None:
    """Keycloak says `refresh_expires_in` (0: never, as for offline sessions); INDIGO IAM's is a JWT with `exp`."""
    if token is None:
        return None
    if expires_in is not None:
        return now + expires_in if expires_in > 0 else None
    return claims.number(claims.unverified_claims(token).get("exp"))

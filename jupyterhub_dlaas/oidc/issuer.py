"""What the issuer publishes: its endpoints (OpenID Connect Discovery 1.0) and the keys that sign its tokens."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

from jupyterhub_dlaas.errors import ConfigError, DeadSession, OperatorError, Outage
from jupyterhub_dlaas.oidc import claims
from jupyterhub_dlaas.oidc.cached import Cached
from jupyterhub_dlaas.oidc.classify import classify
from jupyterhub_dlaas.oidc.clock import Clock
from jupyterhub_dlaas.oidc.http import HTTP
from jupyterhub_dlaas.oidc.keys import KeySet, UnknownKey
from jupyterhub_dlaas.oidc.redact import redact
from jupyterhub_dlaas.oidc.secret import Secret

LEEWAY_SECONDS = 60.0
"""How far the clocks of hub and IAM may be apart."""

UNKNOWN_KEY_SECONDS = 60.0
"""At most this often an unknown key makes the hub fetch the keys again; anybody can send a made-up `kid`."""

_ADMINISTRATOR = "An administrator of the hub has to mend this."


@dataclass(frozen=True)
class Endpoints:
    """The addresses of an issuer; None for what it does not offer. `scim` is INDIGO IAM's own."""

    issuer: str
    authorization: str
    token: str
    userinfo: str
    jwks: str
    revocation: str | None
    introspection: str | None
    end_session: str | None
    scim: str | None


class Issuer:
    """One issuer, known by its URL alone. `ConfigError` when that is no http(s) URL.

    `overrides` are endpoints, by their names in `Endpoints`, that an administrator set: these win over discovery.
    """

    def __init__(self, issuer_url: str, http: HTTP, clock: Clock, overrides: Mapping[str, str] | None = None) -> None:
        parts = _address(issuer_url)
        if parts is None or parts.query or parts.fragment:
            raise ConfigError(
                f"issuer_url {issuer_url!r} is not the address of an issuer.",
                hint="It looks like https://iam.example.org/ or https://sso.example.org/realms/science.",
            )
        self.url = issuer_url
        self._http = http
        self._clock = clock
        self._overrides = {name: url for name, url in (overrides or {}).items() if url}
        self._endpoints = Cached(f"Discovery of {issuer_url}", self._discover, clock)
        self._keys = Cached(f"Keys of {issuer_url}", self._fetch_keys, clock)
        self._asked_for_unknown_at: float | None = None

    async def endpoints(self) -> Endpoints:
        """Discovered at the first call, then from memory. `Outage`, or `OperatorError` for a document that is wrong."""
        return await self._endpoints.get()

    @property
    def known(self) -> Endpoints | None:
        """The endpoints, if discovery has ever worked; never asks."""
        return self._endpoints.value

    async def prefetch(self) -> None:
        """Discovers and fetches the keys, so that the first login does not wait for them."""
        await self.endpoints()
        await self._keys.get()

    async def verify_id_token(self, id_token: Secret, *, client_id: str, nonce: str | None) -> dict[str, Any]:
        """The claims of an id_token that holds (OpenID Connect Core 1.0, section 3.1.3.7).

        `nonce` None: not compared, as at a refresh. `DeadSession` when the nonce is another login's, `Outage` when the
        keys cannot be had, `OperatorError` for every other fault.
        """
        found = await self._verify_signature(id_token)
        if not claims.same_issuer(found.get("iss"), self.url):
            raise _refused(f"it is from {_quoted(found.get('iss'))}, not from {self.url}.", "Check issuer_url.")
        audiences = claims.audiences(found)
        azp = found.get("azp")
        if client_id not in audiences or (azp is not None and azp != client_id) or (len(audiences) > 1 and azp is None):
            raise _refused("it was issued for another client.", "Check client_id.")
        now = self._clock.now()
        exp = claims.number(found.get("exp"))
        if exp is None or exp + LEEWAY_SECONDS <= now:
            raise _refused("it has expired.", "Check that the clocks of the hub and of IAM are right.")
        if any((claims.number(found.get(name)) or 0.0) > now + LEEWAY_SECONDS for name in ("iat", "nbf")):
            raise _refused("it is from the future.", "Check that the clocks of the hub and of IAM are right.")
        if nonce is not None and not _equal(found.get("nonce"), nonce):
            raise DeadSession("This login does not belong to the page it was started from.", hint="Log in again.")
        if not isinstance(found.get("sub"), str) or not found["sub"]:
            raise _refused("it names no user (sub).", _ADMINISTRATOR)
        return found

    async def _verify_signature(self, id_token: Secret) -> dict[str, Any]:
        keys = await self._keys.get()
        try:
            return keys.verify(id_token)
        except UnknownKey as unknown:
            # Whoever comes while the keys are on their way waits for them like the first one.
            if not self._keys.fetching:
                now = self._clock.now()
                asked = self._asked_for_unknown_at
                if asked is not None and 0 <= now - asked < UNKNOWN_KEY_SECONDS:
                    raise Outage(
                        f"{self.url} signed with a key that the hub does not know yet ({redact(unknown.kid)}).",
                        hint="Log in again in a minute.",
                        retry_after=UNKNOWN_KEY_SECONDS - (now - asked),
                    ) from None
                self._asked_for_unknown_at = now
        keys = await self._keys.renew()
        try:
            return keys.verify(id_token)
        except UnknownKey as unknown:
            raise _refused(
                f"its key {redact(unknown.kid)} is not among the keys of {self.url}.", _ADMINISTRATOR
            ) from None

    async def _discover(self) -> Endpoints:
        url = self.url.removesuffix("/") + "/.well-known/openid-configuration"
        document = await self._fetch("discovery", url)
        if not claims.same_issuer(document.get("issuer"), self.url):
            raise OperatorError(
                f"The issuer is set to {self.url}, but what is there calls itself {_quoted(document.get('issuer'))}.",
                hint=f"{_ADMINISTRATOR} Set issuer_url to the issuer's own name.",
            )

        def optional(name: str) -> str | None:
            value = document.get(name)
            if value is None:
                return None
            parts = _address(value)
            # Secrets and tokens are sent there: never without TLS when the issuer itself has it.
            allowed = ("https",) if self.url.startswith("https:") else ("http", "https")
            if parts is None or parts.scheme not in allowed:
                raise OperatorError(
                    f"The issuer {self.url} publishes {name} {_quoted(value)}, which the hub will not use.",
                    hint=f"{_ADMINISTRATOR} It has to be an {' or '.join(allowed)} address.",
                )
            return str(value)

        def required(name: str) -> str:
            value = optional(name)
            if value is None:
                raise OperatorError(
                    f"The issuer {self.url} publishes no {name}.", hint=f"{_ADMINISTRATOR} Check issuer_url."
                )
            return value

        found = Endpoints(
            issuer=str(document["issuer"]),
            authorization=required("authorization_endpoint"),
            token=required("token_endpoint"),
            userinfo=required("userinfo_endpoint"),
            jwks=required("jwks_uri"),
            revocation=optional("revocation_endpoint"),
            introspection=optional("introspection_endpoint"),
            end_session=optional("end_session_endpoint"),
            scim=optional("scim_endpoint"),
        )
        return replace(found, **self._overrides)

    async def _fetch_keys(self) -> KeySet:
        endpoints = await self.endpoints()
        document = await self._fetch("jwks", endpoints.jwks)
        # Building key objects takes a millisecond each: once per fetch, and not on the event loop.
        return await asyncio.to_thread(KeySet.parse, document)

    async def _fetch(self, operation: Any, url: str) -> dict[str, Any]:
        answer = await self._http.request("GET", url)
        document = answer.json() if answer.status == 200 else None
        if not isinstance(document, dict):
            raise classify(operation, answer, now=self._clock.now(), issuer_url=self.url)
        return document


def _refused(why: str, hint: str) -> OperatorError:
    return OperatorError(f"The id_token of this login is refused: {why}", hint=hint)


def _address(value: object) -> SplitResult | None:
    """The parts of an http(s) address, None if it is none."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        return parts if parts and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:  # brackets or a port that cannot be
        return None


def _quoted(value: object) -> str:
    # Issuers and addresses are public, and a redacted one would help nobody.
    return repr(value)[:200] if value is not None else "nothing"


def _equal(one: object, other: str) -> bool:
    return isinstance(one, str) and hmac.compare_digest(one.encode(), other.encode())

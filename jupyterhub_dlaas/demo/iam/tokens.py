"""Access, id and refresh tokens, in the profiles of INDIGO IAM."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import Any

from jupyterhub_dlaas.demo.iam.keys import unsigned
from jupyterhub_dlaas.demo.iam.model import Client, Settings, User
from jupyterhub_dlaas.demo.iam.store import Access, Refresh, Store, digest
from jupyterhub_dlaas.oidc.clock import Clock

ANY_AUDIENCE = "https://wlcg.cern.ch/jwt/v1/any"


class Mint:
    """Makes tokens and remembers them."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, issuer: str) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self.issuer = issuer

    def access(
        self,
        client: Client,
        user: User | None,
        scope: Sequence[str],
        *,
        audience: Sequence[str] = (),
        actor: str | None = None,
        seconds: float | None = None,
    ) -> str:
        """A signed access token. A plain one of the profile `iam` has no `aud` and `scope`; an exchanged one has."""
        now, settings = self._clock.now(), self._settings
        life = settings.token_seconds if seconds is None else seconds
        claims: dict[str, Any] = {
            "sub": user.sub if user else client.client_id,
            "iss": self.issuer if settings.slash_in_access_tokens else self.issuer.rstrip("/"),
            "exp": int(now + life),
            "iat": int(now),
            "jti": str(uuid.uuid4()),
            "client_id": client.client_id,
        }
        if audience:
            claims["aud"] = audience[0] if len(audience) == 1 else list(audience)
        if actor:
            claims["act"] = {"sub": actor}
        if actor or settings.profile != "iam":
            claims["scope"] = " ".join(scope)
        if settings.profile == "wlcg":
            claims |= {"wlcg.ver": "1.0", "nbf": int(now), "aud": claims.get("aud", ANY_AUDIENCE)}
        if user and settings.profile != "iam":
            claims |= self.groups(user, scope)
        token = self._store.keys.sign(claims)
        if len(token) < settings.token_bytes:
            # Four characters of base64 carry three bytes; nine of them are the claim's name and punctuation.
            claims["pad"] = "x" * max(1, -((settings.token_bytes - len(token)) * -3 // 4) - 9)
            token = self._store.keys.sign(claims)
        self._store.access[digest(token)] = Access(
            user.name if user else None,
            client.client_id,
            list(scope),
            list(audience),
            float(claims["exp"]),
            claims["jti"],
        )
        return token

    def groups(self, user: User, scope: Sequence[str]) -> dict[str, Any]:
        """The claim that carries groups in this profile. Their order is arbitrary, as INDIGO IAM's is."""
        names = random.sample(user.groups, len(user.groups))
        match self._settings.profile:
            case "wlcg":
                return {"wlcg.groups": [f"/{name}" for name in names]} if "wlcg.groups" in scope else {}
            case "aarc":
                return {
                    "eduperson_entitlement": [
                        f"urn:geant:iam.example.org:group:{name.replace('/', ':')}#iam.example.org" for name in names
                    ]
                }
            case "kc":
                # Keycloak's mapper leaves the claim out for a user without groups.
                return {"groups": [f"/{name}" for name in names]} if names else {}
            case _:
                return {"groups": names}

    def person(self, user: User, scope: Sequence[str]) -> dict[str, Any]:
        """Name, mail and groups as far as the scopes go: what userinfo and id_tokens share."""
        claims: dict[str, Any] = {"sub": user.sub}
        if "profile" in scope:
            claims |= {
                "name": f"{user.given_name} {user.family_name}",
                "preferred_username": user.name,
                "given_name": user.given_name,
                "family_name": user.family_name,
                "organisation_name": self._settings.organisation,
                **self.groups(user, scope),
            }
        if "email" in scope:
            claims |= {"email": user.email, "email_verified": True}
        return claims

    def identity(self, client: Client, user: User, scope: Sequence[str], nonce: str | None) -> str:
        """An id_token; like INDIGO IAM's it has neither `at_hash` nor `auth_time`."""
        now = self._clock.now()
        claims = self.person(user, scope) | {
            "iss": self.issuer,
            "aud": client.client_id,
            "iat": int(now),
            "exp": int(now + self._settings.id_token_seconds),
            "jti": str(uuid.uuid4()),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        return self._store.keys.sign(claims)

    def refresh(
        self, client: Client, user: User, scope: Sequence[str], nonce: str | None, access: str, family: str
    ) -> str:
        expires_at = self._clock.now() + self._settings.refresh_token_seconds
        token = unsigned({"exp": int(expires_at), "jti": str(uuid.uuid4())})
        self._store.refresh[digest(token)] = Refresh(
            user.name, client.client_id, list(scope), nonce, expires_at, family, digest(access)
        )
        return token

    def answer(self, access: str, scope: Sequence[str], **more: str | None) -> dict[str, Any]:
        """A token response (RFC 6749 section 5.1)."""
        lasts = self._store.access[digest(access)].expires_at - self._clock.now()
        body: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": max(0, int(lasts)),
            "scope": " ".join(scope),
        }
        return body | {name: value for name, value in more.items() if value is not None}

    def session(self, client: Client, user: User, scope: Sequence[str], nonce: str | None) -> dict[str, Any]:
        """What a login ends in: access and id_token, and a refresh token if `offline_access` was asked for."""
        access = self.access(client, user, scope)
        refresh = None
        if "offline_access" in scope and "refresh_token" in client.grants:
            refresh = self.refresh(client, user, scope, nonce, access, str(uuid.uuid4()))
        identity = self.identity(client, user, scope, nonce) if "openid" in scope else None
        return self.answer(access, scope, refresh_token=refresh, id_token=identity)

    def alive(self, token: str) -> Access | None:
        """The access token, if it is one of ours, unexpired and not killed."""
        found = self._store.access.get(digest(token))
        return found if found and found.expires_at > self._clock.now() else None

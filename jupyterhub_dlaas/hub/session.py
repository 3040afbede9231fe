"""A user's session with IAM: what is known of it, and how it is written in JupyterHub's encrypted auth_state."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jupyterhub_dlaas.oidc.model import Grant
from jupyterhub_dlaas.oidc.secret import Secret

KEY = "dlaas"
"""The entry of auth_state that is ours; the rest is what GenericOAuthenticator's users know."""


@dataclass(frozen=True)
class Held:
    """An access token and its life, epoch seconds of the hub's clock."""

    token: Secret
    expires_at: float
    renewed_at: float

    @classmethod
    def of(cls, grant: Grant) -> Held:
        """The access token of an answer of IAM."""
        return cls(grant.access_token, grant.expires_at, grant.received_at)


@dataclass(frozen=True)
class Session:
    """One login and all that came of it.

    `generation` names the login, `serial` counts its changes; `subject` and `issuer` pin the user (OpenID Connect
    Core 1.0, section 2). `checked_at` is when IAM last confirmed the account, which it does at a refresh only.
    `allowed` is False once the user may no longer log in. `others` are the entries of auth_state that are
    not ours; they are carried along.
    """

    generation: str
    subject: str
    issuer: str
    access: Held | None
    refresh_token: Secret | None
    refresh_expires_at: float | None
    checked_at: float
    tokens: Mapping[str, Held] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)
    allowed: bool = True
    serial: int = 0

    @property
    def jitter(self) -> float:
        """In [0, 1): one for the whole session, so that its tokens fall due together; another for another user."""
        return zlib.crc32(self.generation.encode()) / 2**32

    def dead(self, now: float) -> bool:
        """Whether only a new login helps: nothing is left to ask IAM with."""
        return self.refresh_token is None and (self.access is None or self.access.expires_at <= now)

    def refreshed(self, grant: Grant) -> Session:
        """After a refresh; the old refresh token stays when IAM sent none."""
        rotated = grant.refresh_token is not None
        return replace(
            self,
            access=Held.of(grant),
            refresh_token=grant.refresh_token or self.refresh_token,
            refresh_expires_at=grant.refresh_expires_at if rotated else self.refresh_expires_at,
            checked_at=grant.received_at,
            serial=self.serial + 1,
        )

    def ended(self) -> Session:
        """After IAM refused the refresh token for good; the audiences' tokens live on until they expire."""
        return replace(self, access=None, refresh_token=None, refresh_expires_at=None, serial=self.serial + 1)

    def with_tokens(self, tokens: Mapping[str, Held]) -> Session:
        """With these tokens of audiences added or replaced."""
        return replace(self, tokens={**self.tokens, **tokens}, serial=self.serial + 1)

    def without_expired(self, now: float) -> Session:
        """Without the tokens that are of no more use, to keep auth_state small."""
        return replace(self, tokens={key: held for key, held in self.tokens.items() if held.expires_at > now})

    def to_auth_state(self) -> dict[str, Any]:
        """The JSON that JupyterHub encrypts."""
        return {
            **self.others,
            "access_token": self.access.token.reveal() if self.access else None,
            "refresh_token": self.refresh_token.reveal() if self.refresh_token else None,
            KEY: {
                "generation": self.generation,
                "serial": self.serial,
                "sub": self.subject,
                "issuer": self.issuer,
                "access_expires_at": self.access.expires_at if self.access else None,
                "access_renewed_at": self.access.renewed_at if self.access else None,
                "refresh_expires_at": self.refresh_expires_at,
                "checked_at": self.checked_at,
                "allowed": self.allowed,
                "tokens": {
                    key: {
                        "token": held.token.reveal(),
                        "expires_at": held.expires_at,
                        "renewed_at": held.renewed_at,
                    }
                    for key, held in self.tokens.items()
                },
            },
        }


def same_claims(one: Any, other: Any) -> bool:
    """Whether both say the same. The order of a list does not count: INDIGO IAM names groups in any order."""
    if one == other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_claims(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return False


def new_generation() -> str:
    """A name for a login that no other has."""
    return secrets.token_urlsafe(9)


def session_of(auth_state: Mapping[str, Any] | None) -> Session | None:
    """Reads `Session.to_auth_state` back; None where there is no session of ours, or only the pin of one that ended."""
    ours = (auth_state or {}).get(KEY) or {}
    if not auth_state or "generation" not in ours:
        return None
    access, refresh = auth_state.get("access_token"), auth_state.get("refresh_token")
    return Session(
        generation=ours["generation"],
        serial=ours.get("serial", 0),
        subject=ours["sub"],
        issuer=ours["issuer"],
        access=Held(Secret(access), ours["access_expires_at"], ours["access_renewed_at"]) if access else None,
        refresh_token=Secret(refresh) if refresh else None,
        refresh_expires_at=ours.get("refresh_expires_at"),
        checked_at=ours["checked_at"],
        allowed=ours.get("allowed", True),
        tokens={
            key: Held(Secret(held["token"]), held["expires_at"], held["renewed_at"])
            for key, held in ours.get("tokens", {}).items()
        },
        others={
            name: value for name, value in auth_state.items() if name not in (KEY, "access_token", "refresh_token")
        },
    )


def pinned(auth_state: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """(issuer, subject) that the hub user belongs to; it outlives the session."""
    ours = (auth_state or {}).get(KEY) or {}
    return (ours["issuer"], ours["sub"]) if "sub" in ours else None


def pin_only(session: Session) -> dict[str, Any]:
    """The auth_state after a logout: whose user this is, and nothing to act with."""
    return {KEY: {"sub": session.subject, "issuer": session.issuer}}

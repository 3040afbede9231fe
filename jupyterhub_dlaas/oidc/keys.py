"""The public keys of an issuer (RFC 7517), and the signature of a token (RFC 7515)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from jupyterhub_dlaas.errors import OperatorError
from jupyterhub_dlaas.oidc.secret import Secret

KEY_TYPES = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
}
"""Every algorithm that is accepted: never `none`, and never HMAC, whose key would be a public one."""

_UNCHECKED = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


class UnknownKey(Exception):
    """The token is signed with a key that is not in the set; `kid` is what it calls it."""

    def __init__(self, kid: str) -> None:
        super().__init__(kid)
        self.kid = kid


@dataclass(frozen=True)
class _Key:
    kid: str | None
    kty: str
    alg: str | None
    public: Any


@dataclass(frozen=True)
class KeySet:
    """The signature keys of one JWKS document."""

    keys: tuple[_Key, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> KeySet:
        """Keeps what can verify a signature: a set may hold encryption keys (Keycloak's does) and unknown kinds."""
        keys = []
        entries = document.get("keys")
        for entry in entries if isinstance(entries, list) else []:
            if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC"):
                continue
            try:
                # PyJWT wants an algorithm where the issuer gives none; the key itself does not depend on it.
                public = jwt.PyJWK(entry, None if entry.get("alg") or entry["kty"] == "EC" else "RS256").key
            except jwt.PyJWTError:
                continue
            keys.append(_Key(entry.get("kid"), entry["kty"], entry.get("alg"), public))
        return cls(tuple(keys))

    def verify(self, token: Secret) -> dict[str, Any]:
        """The claims of a token whose signature holds; nothing else is checked. `UnknownKey`, or `OperatorError`."""
        value = token.reveal()
        try:
            header = jwt.get_unverified_header(value)
        except jwt.PyJWTError as error:
            raise _refused("it is not a signed JWT", error) from None
        algorithm, kid = header.get("alg"), header.get("kid")
        kty = KEY_TYPES.get(algorithm) if isinstance(algorithm, str) else None
        if kty is None:
            raise _refused(f"its algorithm {str(algorithm)[:20]!r} is not accepted (of {', '.join(KEY_TYPES)})")
        fitting = [
            key
            for key in self.keys
            if key.kty == kty and key.alg in (None, algorithm) and (kid is None or key.kid == kid)
        ]
        if not fitting:
            raise UnknownKey(str(kid))
        for key in fitting:
            try:
                claims = jwt.decode(value, key.public, algorithms=[str(algorithm)], options=_UNCHECKED)  # type: ignore[arg-type]
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError as error:
                raise _refused("it cannot be read", error) from None
            return claims
        if kid is None:
            # None of the known keys; a new one may have been published.
            raise UnknownKey("without a name")
        raise _refused("its signature does not hold")


def _refused(why: str, error: Exception | None = None) -> OperatorError:
    kind = f" ({type(error).__name__})" if error is not None else ""
    return OperatorError(
        f"The id_token of this login is refused: {why}{kind}.",
        hint="An administrator of the hub should ask the administrators of IAM why it does not sign as it publishes.",
    )

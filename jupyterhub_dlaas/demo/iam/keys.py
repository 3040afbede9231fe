"""Signing keys and how a JWT is made."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from typing import Any, Literal

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

KeyType = Literal["RSA", "EC"]


@functools.lru_cache(maxsize=8)
def _generate(kid: str, kind: KeyType) -> Any:
    # Kept for the process: a test suite starts many stand-ins, and none of them needs a key of its own.
    if kind == "EC":
        return ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"}, private=True)
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"}, private=True)


class Keys:
    """The key in use (the last) and those that older tokens are still verified with."""

    def __init__(self, kind: KeyType = "RSA", stored: list[dict[str, Any]] | None = None) -> None:
        self._kind = kind
        self._keys: list[Any] = [
            ECKey.import_key(key) if key["kty"] == "EC" else RSAKey.import_key(key) for key in stored or ()
        ]
        self._number = 1
        if self._keys:
            self._number = int(str(self._keys[-1].kid)[3:])
        else:
            self._keys.append(_generate("rsa1" if kind == "RSA" else "ec-1", kind))

    @property
    def algorithms(self) -> list[str]:
        return sorted({key.as_dict()["alg"] for key in self._keys})

    def rotate(self, *, keep_old: bool = True) -> None:
        """Signs with a new key from now on; without `keep_old` tokens of the old one cannot be verified any more."""
        self._number += 1
        prefix = "rsa" if self._kind == "RSA" else "ec-"
        key = _generate(f"{prefix}{self._number}", self._kind)
        self._keys = [*self._keys, key] if keep_old else [key]

    def public(self) -> dict[str, Any]:
        """The JWK set (RFC 7517 section 5)."""
        return {"keys": [key.as_dict(private=False) for key in self._keys]}

    def private(self) -> list[dict[str, Any]]:
        return [key.as_dict(private=True) for key in self._keys]

    def sign(self, claims: Mapping[str, Any]) -> str:
        key = self._keys[-1]
        algorithm = "RS256" if key.key_type == "RSA" else "ES256"
        return str(jwt.encode({"alg": algorithm, "kid": key.kid}, dict(claims), key, algorithms=[algorithm]))


def unsigned(claims: Mapping[str, Any]) -> str:
    """A JWT of `alg: none` (RFC 7515 appendix A.5): INDIGO IAM's refresh tokens are such."""
    return ".".join(_b64(json.dumps(part, separators=(",", ":"))) for part in ({"alg": "none"}, claims)) + "."


def _b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

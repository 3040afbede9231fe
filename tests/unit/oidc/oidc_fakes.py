"""A small issuer on loopback, with real keys: it answers what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from jupyterhub_dlaas.oidc.secret import Secret

NOW = 1_800_000_000.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Keys:
    """An RSA and an EC key, made once: a test takes the kind it needs."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other_rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())


def public(key: Any, kid: str, **more: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, **more}


class FakeIssuer:
    """`answers[path]` is a response, or a handler; `requests` has (path, form, headers) of all that was asked."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.url = ""
        self.asked = asyncio.Event()
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.jwks: list[dict[str, Any]] = [public(keys.rsa, "rsa1", use="sig", alg="RS256")]
        self.discovery: dict[str, Any] = {}
        self.answers: dict[str, Callable[[], web.StreamResponse] | Handler] = {}

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _, _ in self.requests)

    def answer(self, path: str, body: Any = None, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if isinstance(body, (bytes, str)):
            raw = body.encode() if isinstance(body, str) else body
            self.answers[path] = lambda: web.Response(body=raw, status=status, headers=headers)
        else:
            self.answers[path] = lambda: web.json_response(body, status=status, headers=headers)

    def sign(self, claims: dict[str, Any], *, key: Any = None, kid: str | None = "rsa1", alg: str = "RS256") -> Secret:
        headers = {"kid": kid} if kid is not None else {}
        return Secret(jwt.encode(claims, key or self.keys.rsa, algorithm=alg, headers=headers))

    def access_token(self, **claims: Any) -> Secret:
        return self.sign({"iss": self.url, "sub": "alice", "exp": NOW + 3600, **claims})

    def id_token(self, **claims: Any) -> dict[str, Any]:
        base = {"iss": self.url, "sub": "alice", "aud": "dlaas", "exp": NOW + 600, "iat": NOW, "nonce": "n"}
        return {name: value for name, value in {**base, **claims}.items() if value is not None}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append((request.path, form, dict(request.headers)))
        self.asked.set()
        answer = self.answers.get(request.path)
        if answer is not None:
            result = answer(request) if asyncio.iscoroutinefunction(answer) else answer()  # type: ignore[call-arg]
            return await result if asyncio.iscoroutine(result) else result
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(self.discovery)
        if request.path == "/jwk":
            return web.json_response({"keys": self.jwks})
        return web.json_response({"error": "not_found"}, status=404)

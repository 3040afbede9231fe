"""What a hub does to log a user in, with the hub's own client code and a browser reduced to forms."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

from support.issuers import Peer
from support.login import FormBrowser

from jupyterhub_dlaas.oidc.client import IAMClient
from jupyterhub_dlaas.oidc.http import HTTP
from jupyterhub_dlaas.oidc.issuer import Issuer
from jupyterhub_dlaas.oidc.model import AudienceSpec, Grant
from jupyterhub_dlaas.oidc.secret import Secret

REDIRECT = "http://127.0.0.1:8000/hub/oauth_callback"
SCOPE = "openid profile email offline_access"


@dataclass(frozen=True)
class Returned:
    """What came back from the login page, and what belongs to it."""

    code: str
    state: str
    verifier: str
    nonce: str


@dataclass(frozen=True)
class Login:
    grant: Grant
    nonce: str

    @property
    def refresh_token(self) -> Secret:
        assert self.grant.refresh_token is not None
        return self.grant.refresh_token

    @property
    def id_token(self) -> Secret:
        assert self.grant.id_token is not None
        return self.grant.id_token


class RelyingParty:
    """A client of the peer, made anew for each test: nothing is cached from another."""

    def __init__(self, peer: Peer, http: HTTP) -> None:
        self.peer = peer
        self.http = http
        self.issuer = Issuer(peer.issuer_url, http, peer.clock)
        self.client = self.client_with(peer.client_secret)

    def client_with(self, secret: str, client_auth: Literal["basic", "post"] = "basic") -> IAMClient:
        return IAMClient(
            self.issuer,
            self.http,
            self.peer.clock,
            client_id=self.peer.client_id,
            client_secret=Secret(secret),
            client_auth=client_auth,
        )

    async def authorize(self, user: str) -> Returned:
        """Through the login page with PKCE and nonce."""
        verifier, nonce, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.peer.client_id,
            "redirect_uri": REDIRECT,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url = f"{(await self.issuer.endpoints()).authorization}?{urlencode(query)}"
        back = await FormBrowser(self.peer.issuer_url).login(url, user, f"{user}-pw")
        got = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
        assert "code" in got, got
        assert got["state"] == state
        return Returned(got["code"], got["state"], verifier, nonce)

    async def log_in(self, user: str = "alice") -> Login:
        back = await self.authorize(user)
        return Login(await self.client.code(back.code, redirect_uri=REDIRECT, code_verifier=back.verifier), back.nonce)

    def audience(self, name: str) -> AudienceSpec:
        """With the scopes that this flavour of IAM wants to hear."""
        scopes: dict[str, Any] = {}
        if name in self.peer.flavour.scopes:
            scopes["scopes"] = list(self.peer.flavour.scopes[name])
        return AudienceSpec.parse(name, scopes)

"""What a token opens: userinfo, introspection, revocation, SCIM; and the documents anybody may read."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from jupyterhub_dlaas.demo.iam import errors
from jupyterhub_dlaas.demo.iam.errors import RefusalError
from jupyterhub_dlaas.demo.iam.faults import Faults
from jupyterhub_dlaas.demo.iam.grants import authenticate
from jupyterhub_dlaas.demo.iam.model import EXCHANGE, User
from jupyterhub_dlaas.demo.iam.store import Access, Store, digest
from jupyterhub_dlaas.demo.iam.tokens import Mint

SCIM_PAGE = 100


class Resources:
    """Everything beside `/authorize` and `/token`."""

    def __init__(self, store: Store, mint: Mint, faults: Faults) -> None:
        self._store, self._mint, self._faults = store, mint, faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/.well-known/openid-configuration", self._discovery),
            web.get("/jwk", self._jwk),
            web.get("/userinfo", self._userinfo),
            web.post("/userinfo", self._userinfo),
            web.post("/introspect", self._introspect),
            web.post("/revoke", self._revoke),
            web.get("/scim/Users", self._scim_users),
        ]

    async def _discovery(self, _request: web.Request) -> web.Response:
        """OpenID Connect Discovery section 3. INDIGO IAM has no end_session_endpoint."""
        base = self._mint.issuer.rstrip("/")
        document = {
            "issuer": self._faults.wrong_issuer or self._mint.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{base}/jwk",
            "introspection_endpoint": f"{base}/introspect",
            "revocation_endpoint": f"{base}/revoke",
            "scim_endpoint": f"{base}/scim",
            "scopes_supported": sorted(set().union(*(client.scopes for client in self._store.clients.values()))),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", EXCHANGE],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "id_token_signing_alg_values_supported": self._store.keys.algorithms,
            "subject_types_supported": ["public"],
        }
        return web.json_response(document)

    async def _jwk(self, _request: web.Request) -> web.Response:
        return web.json_response(self._store.keys.public(), headers={"Cache-Control": "max-age=21600"})

    def _bearer(self, request: web.Request) -> Access:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        access = self._mint.alive(token)
        if access is None:
            raise errors.bad_access_token(token)
        return access

    async def _userinfo(self, request: web.Request) -> web.Response:
        """Answers for a disabled account and an unsigned AUP, too, as INDIGO IAM does."""
        access = self._bearer(request)
        user = self._store.users.get(access.user) if access.user else None
        if user is None or "openid" not in access.scope:
            raise RefusalError(403, "insufficient_scope", "Insufficient scope for this resource", challenge="Bearer")
        return web.json_response(self._mint.person(user, access.scope))

    async def _introspect(self, request: web.Request) -> web.Response:
        """RFC 7662."""
        form = await request.post()
        authenticate(self._store, request, form)
        access = self._mint.alive(str(form.get("token", "")))
        if access is None:
            return web.json_response({"active": False})
        user = self._store.users.get(access.user) if access.user else None
        body: dict[str, Any] = {
            "active": True,
            "iss": self._mint.issuer,
            "sub": user.sub if user else access.client_id,
            "client_id": access.client_id,
            "scope": " ".join(access.scope),
            "aud": access.audience,
            "exp": int(access.expires_at),
            "jti": access.jti,
            "token_type": "Bearer",
        }
        if user:
            body |= {"username": user.name, **self._mint.groups(user, access.scope)}
        return web.json_response(body)

    async def _revoke(self, request: web.Request) -> web.Response:
        """RFC 7009. A refresh token takes its own access token along, not the exchanged ones."""
        form = await request.post()
        client = authenticate(self._store, request, form)
        key = digest(str(form.get("token", "")))
        refresh, access = self._store.refresh.get(key), self._store.access.get(key)
        owner = refresh.client_id if refresh else access.client_id if access else client.client_id
        if owner != client.client_id:
            raise RefusalError(403, "access_denied", "Client does not own the token.")
        if refresh:
            self._store.access.pop(refresh.access, None)
            del self._store.refresh[key]
        self._store.access.pop(key, None)
        self._store.save()
        return web.Response(status=200)

    async def _scim_users(self, request: web.Request) -> web.Response:
        """RFC 7644 section 3.4.2 with INDIGO IAM's limits: 100 a page at most, `filter` silently ignored."""
        access = self._bearer(request)
        if "scim:read" not in access.scope:
            raise RefusalError(403, "insufficient_scope", "Insufficient scope for this resource", challenge="Bearer")
        try:
            start = max(1, int(request.query.get("startIndex", "1")))
            count = min(SCIM_PAGE, max(0, int(request.query.get("count", str(SCIM_PAGE)))))
        except ValueError:
            raise RefusalError(400, "invalid_request", "startIndex and count are numbers") from None
        wanted = {name.strip() for name in request.query.get("attributes", "").split(",") if name.strip()}
        users = list(self._store.users.values())
        resources = [_scim(user, wanted) for user in users[start - 1 : start - 1 + count]]
        body = {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": len(users),
            "itemsPerPage": len(resources),
            "startIndex": start,
            "Resources": resources,
        }
        return web.json_response(body, content_type="application/scim+json")


def _scim(user: User, wanted: set[str]) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "id": user.sub,
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:indigo-dc:scim:schemas:IndigoUser"],
        "userName": user.name,
        "name": {
            "givenName": user.given_name,
            "familyName": user.family_name,
            "formatted": f"{user.given_name} {user.family_name}",
        },
        "displayName": user.name,
        "active": user.active,
        "emails": [{"type": "work", "value": user.email, "primary": True}],
        "groups": [{"display": name, "value": name} for name in user.groups],
    }
    return {name: value for name, value in whole.items() if not wanted or name in wanted | {"id", "schemas"}}

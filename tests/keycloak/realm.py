"""The realm that the tests import into Keycloak: users, groups and clients as the stand-in IAM has them.

What is particular to Keycloak:
- As soon as `clientScopes` is present, Keycloak makes none of its built-in ones but `offline_access`: the mapper of
  `sub` and those of names and mail must be here.
- `fullScopeAllowed: false` needs `offline_access` bound to its role, or no offline session is ever granted.
- The scope `rucio` is bound to the client role `rucio:user`, which the groups but `guests` give: carol is in none
  and gets no token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REALM = "dlaas"
AUDIENCES = ("rucio", "eos-eulake")
DEFAULT_SCOPES = ["basic", "profile", "email", "roles", "groups"]
LOOPBACK = ["http://127.0.0.1:*", "http://localhost:*"]  # a last `*` is any rest: every port and path


def realm(*, token_seconds: int = 60) -> dict[str, Any]:
    """The whole representation, ready for `--import-realm`."""
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "external",
        "accessTokenLifespan": token_seconds,
        "accessCodeLifespan": 60,
        "ssoSessionIdleTimeout": 1800,
        "ssoSessionMaxLifespan": 36000,
        "offlineSessionIdleTimeout": 2592000,
        "revokeRefreshToken": True,
        "refreshTokenMaxReuse": 0,
        "roles": {
            "realm": [
                {"name": "offline_access"},
                {"name": f"default-roles-{REALM}", "composite": True, "composites": {"realm": ["offline_access"]}},
            ],
            "client": {"rucio": [{"name": "user", "description": "may have tokens for rucio"}]},
        },
        "defaultRole": {"name": f"default-roles-{REALM}"},
        "groups": [_group("escape", "cms"), _group("ska"), _group("guests", entitled=False)],
        "users": [
            _user("alice", "Alpha", "/escape", "/escape/cms"),
            _user("bob", "Beta", "/ska"),
            _user("carol", "Gamma"),
        ],
        "clientScopes": _scopes(),
        "scopeMappings": [{"clientScope": "offline_access", "roles": ["offline_access"]}],
        "clientScopeMappings": {"rucio": [{"clientScope": "rucio", "roles": ["user"]}]},
        "defaultDefaultClientScopes": DEFAULT_SCOPES,
        "defaultOptionalClientScopes": ["offline_access"],
        "clients": [_hub("dlaas", exchange=True), _hub("dlaas-nox", exchange=False), *map(_resource, AUDIENCES)],
    }


def _group(name: str, *children: str, entitled: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "path": f"/{name}",
        "clientRoles": {"rucio": ["user"]} if entitled else {},
        "subGroups": [{"name": child, "path": f"/{name}/{child}"} for child in children],
    }


def _user(name: str, family_name: str, *groups: str) -> dict[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "email": f"{name}@example.org",
        "emailVerified": True,
        "firstName": name.capitalize(),
        "lastName": family_name,
        "credentials": [{"type": "password", "value": f"{name}-pw", "temporary": False}],
        "groups": list(groups),
        "realmRoles": [f"default-roles-{REALM}"],
    }


def _client(client_id: str, **settings: Any) -> dict[str, Any]:
    return {
        "clientId": client_id,
        "secret": f"{client_id}-secret",
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": False,
        "clientAuthenticatorType": "client-secret",
        "standardFlowEnabled": False,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        **settings,
    }


def _hub(client_id: str, *, exchange: bool) -> dict[str, Any]:
    return _client(
        client_id,
        standardFlowEnabled=True,
        redirectUris=LOOPBACK,
        defaultClientScopes=DEFAULT_SCOPES,
        optionalClientScopes=["offline_access", *AUDIENCES],
        attributes={
            "pkce.code.challenge.method": "S256",
            "standard.token.exchange.enabled": "true" if exchange else "false",
            "use.refresh.tokens": "true",
        },
    )


def _resource(client_id: str) -> dict[str, Any]:
    return _client(client_id, description="a resource server: an audience, and nothing of its own")


def _scopes() -> list[dict[str, Any]]:
    return [
        _scope("basic", _mapper("sub", "oidc-sub-mapper"), shown=False),
        _scope(
            "profile",
            _mapper("full name", "oidc-full-name-mapper"),
            _attribute("username", "preferred_username"),
            _attribute("firstName", "given_name"),
            _attribute("lastName", "family_name"),
        ),
        _scope("email", _attribute("email", "email")),
        _scope(
            "roles",
            _mapper(
                "client roles",
                "oidc-usermodel-client-role-mapper",
                {"claim.name": "resource_access.${client_id}.roles", "multivalued": "true", "jsonType.label": "String"},
            ),
            shown=False,
        ),
        _scope(
            "groups", _mapper("groups", "oidc-group-membership-mapper", {"full.path": "true", "claim.name": "groups"})
        ),
        _scope("offline_access"),
        *(
            _scope(name, _mapper(f"audience {name}", "oidc-audience-mapper", {"included.client.audience": name}))
            for name in AUDIENCES
        ),
    ]


def _scope(name: str, *mappers: dict[str, Any], shown: bool = True) -> dict[str, Any]:
    attributes = {"include.in.token.scope": "true" if shown else "false", "display.on.consent.screen": "false"}
    return {"name": name, "protocol": "openid-connect", "attributes": attributes, "protocolMappers": list(mappers)}


def _mapper(name: str, kind: str, config: Mapping[str, str] | None = None) -> dict[str, Any]:
    # An audience belongs into access tokens: in an id_token it would be a second audience of the login.
    identity = "false" if kind == "oidc-audience-mapper" else "true"
    everywhere = {"access.token.claim": "true", "id.token.claim": identity, "userinfo.token.claim": identity}
    return {
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": kind,
        "consentRequired": False,
        "config": {**everywhere, "introspection.token.claim": "true", **(config or {})},
    }


def _attribute(attribute: str, claim: str) -> dict[str, Any]:
    config = {"user.attribute": attribute, "claim.name": claim, "jsonType.label": "String"}
    return _mapper(claim, "oidc-usermodel-attribute-mapper", config)

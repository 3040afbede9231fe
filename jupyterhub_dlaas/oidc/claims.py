"""What a token or a userinfo answer says: its claims, how long it lasts, and the groups in every spelling in use."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from jupyterhub_dlaas.oidc.secret import Secret

ASSUMED_LIFETIME_SECONDS = 300.0
"""How long a token is trusted that says nothing about its end, neither in the answer nor in itself."""

_ENTITLEMENTS = ("eduperson_entitlement", "eduPersonEntitlement", "entitlements")


def unverified_claims(token: Secret) -> dict[str, Any]:
    """The payload of a JWT (RFC 7519), its signature not looked at; empty when it is no JWT."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def expiry(token: Secret, *, expires_in: float | None, now: float) -> float:
    """When a token just received ends, in epoch seconds of the hub's clock.

    `expires_in` (seconds from now) needs no agreement of clocks, `exp` in the token does. The earlier of them counts;
    an `exp` that has passed beside an `expires_in` that has not is taken for a clock that is off.
    """
    ends: list[float] = []
    if expires_in is not None and expires_in > 0:
        ends.append(now + expires_in)
    exp = number(unverified_claims(token).get("exp"))
    if exp is not None and (exp > now or not ends):
        ends.append(exp)
    return min(ends, default=now + ASSUMED_LIFETIME_SECONDS)


def groups(claims: Mapping[str, Any]) -> frozenset[str]:
    """The groups in userinfo or token claims, as full paths with no leading slash; empty when there are none.

    Reads `groups` (INDIGO IAM, and Keycloak's full paths), `wlcg.groups` (WLCG token profile 1.0) and entitlements
    (AARC-G069). A parent is not implied by its child: IAM lists it where the user is a member.
    """
    names = {name.strip("/") for claim in ("groups", "wlcg.groups") for name in _strings(claims.get(claim))}
    names.update(_group_of(value) for claim in _ENTITLEMENTS for value in _strings(claims.get(claim)))
    return frozenset(names - {""})


def number(value: object) -> float | None:
    """The value as a finite number, or None; a bool is none. JSON may hold `1e999`, and some servers send text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 1e15 else None


def same_issuer(one: object, other: object) -> bool:
    """Whether two issuers are the same but for one trailing slash: INDIGO IAM writes it in some places only."""
    return isinstance(one, str) and isinstance(other, str) and one.removesuffix("/") == other.removesuffix("/")


def audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    """The claim `aud`, which is a string for one and a list for several (RFC 7519 section 4.1.3)."""
    return frozenset(_strings(claims.get("aud")))


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, (list, tuple)) else []


def _group_of(entitlement: str) -> str:
    """`urn:...:group:escape:cms:role=member#authority` is `escape/cms`; empty for any other entitlement."""
    if not entitlement.lower().startswith("urn:"):
        return ""
    _, found, path = entitlement.partition("#")[0].partition(":group:")
    parts = [unquote(part) for part in path.split(":") if not part.startswith("role=")]
    # A slash inside one part would pretend to be a subgroup of somebody else's.
    return "/".join(parts) if found and all(part and "/" not in part for part in parts) else ""

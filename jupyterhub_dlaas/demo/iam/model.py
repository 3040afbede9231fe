"""Users, clients and settings of the stand-in IAM."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Literal

Profile = Literal["iam", "wlcg", "aarc", "kc"]

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
LOGIN_SCOPES = frozenset(
    {"openid", "profile", "email", "offline_access", "wlcg.groups", "eduperson_entitlement", "address", "phone"}
)


@dataclass
class User:
    """A person. `groups` are full paths without a leading slash; `aup_signed` False stops refresh and exchange."""

    name: str
    password: str
    given_name: str = ""
    family_name: str = ""
    groups: list[str] = field(default_factory=list)
    active: bool = True
    aup_signed: bool = True
    sub: str = ""

    def __post_init__(self) -> None:
        # The same name is the same person in every run: a Rucio account is bound to this identity.
        self.sub = self.sub or str(uuid.uuid5(uuid.NAMESPACE_URL, f"dlaas-stand-in-iam:{self.name}"))
        self.given_name = self.given_name or self.name.capitalize()
        self.family_name = self.family_name or "Example"

    @property
    def email(self) -> str:
        return f"{self.name}@example.org"


@dataclass
class Client:
    """A registered client. In `redirect_uris` `:*` stands for any port and a last `/*` for any path.

    `rotates` False is INDIGO's `reuseRefreshToken`: the same refresh token comes back. `audiences` None accepts any.
    """

    client_id: str
    secret: str
    redirect_uris: list[str] = field(default_factory=list)
    grants: set[str] = field(default_factory=set)
    scopes: set[str] = field(default_factory=set)
    rotates: bool = True

    def allows_redirect(self, uri: str) -> bool:
        """Whether `uri` is registered (RFC 8252 section 7.3 leaves the port of a loopback address open)."""
        return any(re.fullmatch(_pattern(registered), uri) for registered in self.redirect_uris)


def _pattern(registered: str) -> str:
    return re.escape(registered).replace(r":\*", r":\d{1,5}").replace(r"/\*", r"/[^#]*")


@dataclass
class Settings:
    """What can be chosen; every value may be changed while it runs.

    `token_seconds`: life of access tokens; `race_window_seconds`: how long a spent refresh token still wins;
    `refuse_reuse`: reuse of a refresh token kills the whole session, as Keycloak does; `token_bytes`: access tokens
    are padded to at least this many characters; `slash_in_access_tokens`: discovery and id_tokens always end the
    issuer in `/`, access tokens only with this; `drop_scopes`: scopes that a policy silently takes away.
    """

    token_seconds: float = 3600
    id_token_seconds: float = 600
    refresh_token_seconds: float = 30 * 86400
    code_seconds: float = 300
    profile: Profile = "iam"
    key_type: Literal["RSA", "EC"] = "RSA"
    race_window_seconds: float = 0.0
    refuse_reuse: bool = False
    token_bytes: int = 0
    slash_in_access_tokens: bool = True
    drop_scopes: set[str] = field(default_factory=set)
    organisation: str = "Example Data Lake"


def demo_users() -> dict[str, User]:
    """Two VOs and somebody in none."""
    users = (
        User("alice", "alice-pw", family_name="Alpha", groups=["escape", "escape/cms"]),
        User("bob", "bob-pw", family_name="Beta", groups=["ska"]),
        User("carol", "carol-pw", family_name="Gamma"),
    )
    return {user.name: user for user in users}


def demo_clients() -> dict[str, Client]:
    """The hub (any redirect on loopback) and Rucio's own client (SCIM, introspection)."""
    hub = Client(
        "dlaas",
        "dlaas-secret",
        redirect_uris=["http://127.0.0.1:*/*", "http://localhost:*/*"],
        grants={"authorization_code", "refresh_token", EXCHANGE},
        scopes=set(LOGIN_SCOPES),
    )
    rucio = Client(
        "rucio", "rucio-secret", grants={"client_credentials"}, scopes={"scim:read", "openid", "profile", "email"}
    )
    return {hub.client_id: hub, rucio.client_id: rucio}

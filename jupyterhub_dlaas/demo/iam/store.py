"""What the stand-in IAM remembers: codes, tokens, approvals; and the file that makes it survive a restart.

Tokens are kept by their hash, so the state file holds none that could be used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from dataclasses import dataclass, field
from typing import Any

from jupyterhub_dlaas.demo.iam.keys import Keys, KeyType
from jupyterhub_dlaas.demo.iam.model import Client, User


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass
class Code:
    """An authorization code; single use."""

    client_id: str
    user: str
    redirect_uri: str
    scope: list[str]
    nonce: str | None
    challenge: str | None
    method: str
    expires_at: float
    used: bool = False


@dataclass
class Access:
    """An access token that is alive; `user` None is a client's own (client_credentials)."""

    user: str | None
    client_id: str
    scope: list[str]
    audience: list[str]
    expires_at: float
    jti: str


@dataclass
class Refresh:
    """A refresh token: `access` is the hash of the access token it takes along, `family` its login."""

    user: str
    client_id: str
    scope: list[str]
    nonce: str | None
    expires_at: float
    family: str
    access: str
    used_at: float | None = None


@dataclass
class Store:
    """Everything that changes. `save()` writes it whole; without a folder it lives in memory only."""

    folder: pathlib.Path | None
    keys: Keys
    users: dict[str, User]
    clients: dict[str, Client]
    codes: dict[str, Code] = field(default_factory=dict)
    access: dict[str, Access] = field(default_factory=dict)
    refresh: dict[str, Refresh] = field(default_factory=dict)
    approvals: set[tuple[str, str]] = field(default_factory=set)
    sessions: dict[str, str] = field(default_factory=dict)  # browser cookie -> user; not kept over a restart

    @classmethod
    def load(
        cls, folder: pathlib.Path | None, kind: KeyType, users: dict[str, User], clients: dict[str, Client]
    ) -> Store:
        """The stored state over the given users and clients, or a new one. A damaged file is a ValueError naming it."""
        path = folder / "iam.json" if folder else None
        if path is None or not path.exists():
            return cls(folder, Keys(kind), users, clients)
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            kept = {name: User(**value) for name, value in data["users"].items()}
            return cls(
                folder,
                Keys(kind, data["keys"]),
                {**users, **kept},
                clients,
                access={key: Access(**value) for key, value in data["access"].items()},
                refresh={key: Refresh(**value) for key, value in data["refresh"].items()},
                approvals={(user, client) for user, client in data["approvals"]},
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"The state of the stand-in IAM in {path} cannot be read; delete the file.") from error

    def save(self) -> None:
        """Writes the state beside the old file and puts it in its place; 0600, as it holds the signing keys."""
        if self.folder is None:
            return
        data = {
            "keys": self.keys.private(),
            "users": {name: dataclasses.asdict(user) for name, user in self.users.items()},
            "access": {key: dataclasses.asdict(value) for key, value in self.access.items()},
            "refresh": {key: dataclasses.asdict(value) for key, value in self.refresh.items()},
            "approvals": sorted(self.approvals),
        }
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path, part = self.folder / "iam.json", self.folder / ".iam.json.part"
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(data, file)
        part.replace(path)

    def prune(self, now: float) -> None:
        """Forgets what expired; a spent refresh token is kept until then, so that its reuse is recognised."""
        self.access = {key: value for key, value in self.access.items() if value.expires_at > now}
        self.refresh = {key: value for key, value in self.refresh.items() if value.expires_at > now}
        self.codes = {key: value for key, value in self.codes.items() if value.expires_at > now}

    def refreshable(self, now: float) -> int:
        """How many logins have a refresh token that still works."""
        unused = (value for value in self.refresh.values() if value.used_at is None and value.expires_at > now)
        return len({value.family for value in unused})

    def end_family(self, family: str) -> None:
        """Kills a login: all its refresh tokens and their access tokens, not the exchanged ones."""
        for key, value in list(self.refresh.items()):
            if value.family == family:
                self.access.pop(value.access, None)
                del self.refresh[key]

    def end_sessions(self, user: str) -> None:
        """Kills every login of a user, the browser's too."""
        for family in {value.family for value in self.refresh.values() if value.user == user}:
            self.end_family(family)
        self.sessions = {cookie: name for cookie, name in self.sessions.items() if name != user}

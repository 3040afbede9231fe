"""Tokens of the lab's IAM, of every kind that a storage must accept or refuse, and how a storage knows its keys."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.demo.iam.keys import Keys
from jupyterhub_dlaas.demo.iam.model import demo_users
from storage.layout import STORAGE_AUDIENCE, STORAGE_SCOPES
from storage.pki import write_private

DAY = 86400


class Mint:
    """Signs as the lab's IAM does (profile `wlcg`), whatever is wanted."""

    def __init__(self, issuer: str, keys: Keys) -> None:
        self.issuer, self.keys = issuer, keys

    @classmethod
    def of(cls, issuer: str, folder: Path) -> Mint:
        """With the keys that the IAM keeps in this folder; they are made if it has none."""
        path = folder / "iam.json"
        if path.exists():
            return cls(issuer, Keys("RSA", json.loads(path.read_text())["keys"]))
        keys = Keys("RSA")
        folder.mkdir(mode=0o700)
        state = {"keys": keys.private(), "users": {}, "access": {}, "refresh": {}, "approvals": []}
        write_private(path, json.dumps(state).encode())
        return cls(issuer, keys)

    def token(
        self, user: str, audience: str | Sequence[str] | None, scope: str, seconds: float = 3600, **claims: Any
    ) -> str:
        """A token for this audience. `claims` are set, those that are None left out; `seconds` may be negative."""
        now = time.time()
        all_claims = {
            "iss": self.issuer,
            "sub": demo_users()[user].sub,
            "aud": audience,
            "scope": scope,
            "wlcg.ver": "1.0",
            "iat": int(min(now, now + seconds) - 5),
            "nbf": int(min(now, now + seconds) - 5),
            "exp": int(now + seconds),
            "jti": str(uuid.uuid4()),
            **claims,
        }
        return self.keys.sign({name: value for name, value in all_claims.items() if value is not None})

    def rucio(self, user: str, seconds: float = 3600) -> str:
        """For Rucio alone: no storage accepts it."""
        return self.token(user, "rucio", "openid profile", seconds)

    def storage(self, user: str, seconds: float = 3600, scope: str = STORAGE_SCOPES) -> str:
        """For the token-protected storage alone."""
        return self.token(user, STORAGE_AUDIENCE, scope, seconds)


def teach(cache: Path, issuer: str, keys: Keys) -> None:
    """Puts an issuer's public keys where libscitokens keeps what it has fetched, below `cache` (XDG_CACHE_HOME).

    It would fetch from https only, with the machine's own authorities; what it has it uses until it expires.
    """
    folder = cache / "scitokens"
    folder.mkdir(parents=True)
    later = int(time.time()) + 30 * DAY
    row = json.dumps({"jwks": keys.public(), "expires": later, "next_update": later})
    database = sqlite3.connect(folder / "scitokens_cpp.sqllite")
    with database:
        database.execute("CREATE TABLE keycache (issuer text UNIQUE PRIMARY KEY NOT NULL, keys text NOT NULL)")
        database.execute("INSERT INTO keycache VALUES (?, ?)", (issuer, row))
    database.close()


def own(path: Path, uid: int, gid: int) -> None:
    """Gives a file or a folder and all below it to an account."""
    os.chown(path, uid, gid)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)

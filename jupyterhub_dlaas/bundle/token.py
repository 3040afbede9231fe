"""What is known about the access token of one audience: shared by the hub's keeper and the files of a server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jupyterhub_dlaas.oidc.secret import Secret

# What a header can carry (RFC 6750 section 2.1: b64token): no white space, no colon.
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


@dataclass(frozen=True)
class Trouble:
    """Why the last renewal of an audience failed, since when (epoch seconds, None: not known).

    `label` is the class as in `IAMError.label` (`stale_subject`, `outage`, ...); `sentence` is for the user.
    """

    label: str
    sentence: str
    since: float | None


@dataclass(frozen=True)
class TokenState:
    """The token of the audience `key`, if there is one, and its last problem, if there is one. Times in epoch seconds.

    A state can have both: in an outage the old token stays in use until it expires.
    """

    key: str
    token: Secret | None
    expires_at: float | None
    renewed_at: float | None
    problem: Trouble | None = None

    def value(self) -> str:
        """The token itself, or "" where there is none that a file and a header can carry."""
        value = "" if self.token is None else self.token.reveal()
        return value if _B64TOKEN.fullmatch(value) else ""

"""What is known about the access token of one audience: shared by the hub's keeper and the files of a server."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub_dlaas.oidc.secret import Secret


@dataclass(frozen=True)
class Trouble:
    """Why the last renewal of an audience failed, since when (epoch seconds).

    `label` is the class as in `IAMError.label` (`stale_subject`, `outage`, ...); `sentence` is for the user.
    """

    label: str
    sentence: str
    since: float


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

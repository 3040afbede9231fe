"""Every error of the package, with the class it belongs to, the person who can mend it and what to do.

The classes of `IAMError` are the seven answers that matter to a session: what IAM said is sorted into one of them by
`jupyterhub_dlaas.oidc.classify`, and everything above acts on the class alone.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class Audience(enum.Enum):
    """Who can mend an error."""

    USER = "user"
    ADMINISTRATOR = "administrator"
    VO_MAINTAINER = "VO maintainer"


class DLaaSError(Exception):
    """What happened, in a sentence for a person; `hint` says what to do and `for_whom` who can do it."""

    for_whom: ClassVar[Audience] = Audience.ADMINISTRATOR

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def sentence(self) -> str:
        """The message and, where there is one, what to do about it."""
        return f"{self.message} {self.hint}".strip()


class ConfigError(DLaaSError):
    """A setting of the hub can never work; names the setting and the remedy."""


class IAMError(DLaaSError):
    """IAM refused or failed. `label` is the class as metrics and status show it.

    `reason` is IAM's own text, already redacted; `audience` the key of the audience asked for, if one was;
    `retry_after` seconds that IAM asked to wait (RFC 9110 section 10.2.3); `url` where the user can act.
    """

    label: ClassVar[str]

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        reason: str = "",
        audience: str | None = None,
        retry_after: float | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.audience = audience
        self.retry_after = retry_after
        self.url = url


class StaleSubject(IAMError):
    """The subject token is not accepted any more: refresh once, then ask again."""

    label = "stale_subject"


class UserAction(IAMError):
    """The user has to do something at IAM first (sign the AUP, give consent)."""

    label = "user_action"
    for_whom = Audience.USER


class DeadSession(IAMError):
    """The refresh token is gone for good: only a new login helps."""

    label = "dead_session"
    for_whom = Audience.USER


class AccountDisabled(IAMError):
    """The account is suspended at IAM; the session is kept and works again once it is enabled."""

    label = "account_disabled"


class OperatorError(IAMError):
    """Client, scope or audience are set up wrongly at IAM or in the hub's configuration."""

    label = "operator_error"


class NoEntitlement(IAMError):
    """The user is not entitled to this audience, or it is not available to this client."""

    label = "no_entitlement"


class Outage(IAMError):
    """IAM cannot be reached or cannot answer now; nothing is lost, ask again later."""

    label = "outage"


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a catalogue file: where, which field and value, and what to do. `line` counts from 1."""

    message: str
    field: str = ""
    line: int | None = None
    source: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.source, self.line) if part)
        return ": ".join(part for part in (place, self.field, self.message) if part)


class CatalogueError(DLaaSError):
    """A catalogue file cannot be used; `problems` has all of its faults at once."""

    for_whom = Audience.VO_MAINTAINER

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class OptionsError(DLaaSError):
    """A user asked for a server that is not offered to them; the message lists what is allowed. HTTP 400 or 403."""

    for_whom = Audience.USER

    def __init__(self, message: str, *, hint: str = "", status: int = 400) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class BundleError(DLaaSError):
    """The files of a server cannot be made or delivered."""

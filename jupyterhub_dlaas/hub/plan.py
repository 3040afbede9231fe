"""What has to be asked of IAM for one user now, and when next: pure decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from jupyterhub_dlaas.bundle.token import Trouble
from jupyterhub_dlaas.hub.session import Held, Session
from jupyterhub_dlaas.hub.timing import Lead, Retry, enough

SESSION = ""
"""The key, among those of audiences, under which troubles and retries of the session itself are kept."""

_SUBJECT_SECONDS = 30.0  # A subject token should outlive the exchange, on an IAM that takes 20 s for it, too.


@dataclass(frozen=True)
class Wish:
    """What a caller needs: `keys` for `at_least` seconds, or everything anew (`force`). `asked`: a person waits.

    `account_only`: the login's own access token is kept fresh and nothing is exchanged.
    """

    keys: tuple[str, ...] = ()
    at_least: float = 0.0
    asked: bool = False
    force: bool = False
    account_only: bool = False


@dataclass(frozen=True)
class Plan:
    """Refresh first, then exchange for these audiences."""

    refresh: bool = False
    exchange: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.refresh or bool(self.exchange)


@dataclass(frozen=True)
class Timing:
    """How far ahead tokens are renewed and how often the account is checked."""

    lead: Lead = field(default_factory=Lead)
    check_seconds: float = 900.0


def plan(
    session: Session,
    wish: Wish,
    timing: Timing,
    now: float,
    *,
    entitled: Collection[str],
    troubles: Mapping[str, Trouble] = {},
    retries: Mapping[str, Retry] = {},
) -> Plan:
    """What to do now. Without a refresh that IAM accepts nothing is exchanged while the session is in trouble."""
    if session.dead(now) or not _may_try(retries, SESSION, now, wish):
        return Plan()
    keys = [key for key in entitled if _wanted(session.tokens.get(key), key, wish, timing, session.jitter, now)]
    permitted = session.allowed and not wish.account_only
    keys = [key for key in keys if _may_try(retries, key, now, wish)] if permitted else []
    held = session.access
    spent = held is None or not enough(held.renewed_at, held.expires_at, _SUBJECT_SECONDS, now)
    late = now >= _check_due(session, timing)
    if wish.account_only:
        late = late or now >= _token_due(held, timing, session.jitter)
    refresh = wish.force or SESSION in troubles or late or (spent and bool(keys))
    # Nothing to refresh with: the access token from the login is all there is, as long as it lasts.
    return Plan(refresh=refresh and session.refresh_token is not None, exchange=tuple(keys))


def next_due(
    session: Session, timing: Timing, now: float, *, entitled: Collection[str], retries: Mapping[str, Retry] = {}
) -> float:
    """When `plan` will have something to do by itself (epoch seconds); infinite for a dead session."""
    if session.dead(now):
        return float("inf")
    if session.refresh_token is not None:
        due = _check_due(session, timing)
    else:
        due = session.access.expires_at if session.access else float("inf")
    if session.allowed:
        for key in entitled:
            again = retries[key].again_at if key in retries else 0.0
            due = min(due, max(_token_due(session.tokens.get(key), timing, session.jitter), again))
    return max(due, retries[SESSION].again_at) if SESSION in retries else due


@dataclass(frozen=True)
class Assessment:
    """What a refresh or login says of the user: their groups, whether an administrator, whether let in at all.

    `groups` and `admin` are None where they stay as they are.
    """

    groups: frozenset[str] | None = None
    admin: bool | None = None
    allowed: bool = True
    others: Mapping[str, object] = field(default_factory=dict)


def _wanted(held: Held | None, key: str, wish: Wish, timing: Timing, jitter: float, now: float) -> bool:
    if held is None or wish.force or now >= _token_due(held, timing, jitter):
        return True
    return key in wish.keys and not enough(held.renewed_at, held.expires_at, wish.at_least, now)


def _may_try(retries: Mapping[str, Retry], key: str, now: float, wish: Wish) -> bool:
    asked = wish.asked and (key == SESSION or key in wish.keys or wish.force)
    return key not in retries or retries[key].may_try(now, asked=asked)


def _token_due(held: Held | None, timing: Timing, jitter: float) -> float:
    return 0.0 if held is None else timing.lead.due(held.renewed_at, held.expires_at, jitter)


def _check_due(session: Session, timing: Timing) -> float:
    """The account's next check, or the last moment at which a refresh token that dies of idleness is still used."""
    check = session.checked_at + timing.check_seconds * (1 - session.jitter / 10)
    if session.refresh_expires_at is None:
        return check
    return min(check, timing.lead.due(session.checked_at, session.refresh_expires_at, session.jitter))

"""What the keeper has in memory of one user."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from jupyterhub_dlaas.bundle.token import TokenState, Trouble
from jupyterhub_dlaas.errors import DeadSession, IAMError, NoEntitlement, Outage
from jupyterhub_dlaas.hub.plan import SESSION
from jupyterhub_dlaas.hub.session import Session
from jupyterhub_dlaas.hub.timing import OUTAGE, SLOW, Retry


@dataclass
class Entry:
    """A user's session and its troubles. `epoch` counts logins and logouts: who began under another throws away.

    `lock` is held through a renewal, `reading` while auth_state is read or a login is saved, for milliseconds.
    `gate` is open unless a login is being saved; `blob` is the encrypted auth_state that was saved last;
    `unsaved` that the session in memory is newer, because the database failed. `owner` is the id of the hub user, once
    it is known: a name may be given to somebody else.
    """

    session: Session | None = None
    owner: int | None = None
    loaded: bool = False
    version: int = 1
    epoch: int = 0
    renewals: int = 0
    troubles: dict[str, Trouble] = field(default_factory=dict)
    retries: dict[str, Retry] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    openings: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    blob: bytes | None = None
    unsaved: bool = False
    entitled: Collection[str] = ()

    def __post_init__(self) -> None:
        self.gate.set()

    def adopt(self, session: Session | None) -> None:
        """Another login's session, or none: what was known of the old one is forgotten."""
        self.session, self.loaded, self.unsaved = session, True, False
        self.troubles.clear()
        self.retries.clear()
        self.version += 1

    def update(self, session: Session) -> None:
        """The same session, changed."""
        self.session = session
        self.version += 1

    def failed(self, key: str, error: IAMError, now: float) -> None:
        """Remembers what went wrong with an audience (or `SESSION`) and when to try it again."""
        before = self.retries.get(key)
        failures = before.failures + 1 if before else 1
        backoff = OUTAGE if isinstance(error, Outage) else SLOW
        jitter = self.session.jitter if self.session else 0.0
        self.retries[key] = Retry(failures, now, now + backoff.delay(failures, jitter, error.retry_after))
        old = self.troubles.get(key)
        since = old.since if old and old.label == error.label else now
        self.troubles[key] = Trouble(error.label, error.sentence(), since)
        self.version += 1

    def worked(self, key: str) -> None:
        """Forgets the trouble with an audience (or `SESSION`)."""
        self.retries.pop(key, None)
        if self.troubles.pop(key, None):
            self.version += 1

    def state(self, key: str) -> TokenState:
        """The token of an audience and its last problem; the session's where the audience has none of its own."""
        held = self.session.tokens.get(key) if self.session else None
        problem = self.troubles.get(SESSION) or self._standing_trouble() or self.troubles.get(key)
        if held is None:
            return TokenState(key, None, None, None, problem)
        return TokenState(key, held.token, held.expires_at, held.renewed_at, problem)

    def _standing_trouble(self) -> Trouble | None:
        """What the session itself says, after a hub restart too, when what IAM said is forgotten."""
        if self.session is None:
            return Trouble(DeadSession.label, "There is no session with IAM. Log in again.", None)
        if self.session.refresh_token is None and self.session.access is None:
            return Trouble(DeadSession.label, "The session with IAM is over. Log in again.", self.session.checked_at)
        if not self.session.allowed:
            sentence = "IAM no longer lists you in a group that may use this hub."
            return Trouble(NoEntitlement.label, sentence, self.session.checked_at)
        return None

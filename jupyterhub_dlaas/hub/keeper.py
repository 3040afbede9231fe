"""The one writer of users' tokens: everybody else asks it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from jupyterhub_dlaas.bundle.token import TokenState
from jupyterhub_dlaas.errors import IAMError
from jupyterhub_dlaas.hub import store
from jupyterhub_dlaas.hub.entry import Entry
from jupyterhub_dlaas.hub.plan import Wish, next_due, plan
from jupyterhub_dlaas.hub.renewal import Means, Renewal
from jupyterhub_dlaas.hub.session import Session, pin_only, pinned, session_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewSession:
    """What a login hands over: the session, and what IAM refused of it by audience."""

    session: Session
    refused: Mapping[str, IAMError] = field(default_factory=dict)


class TokenKeeper:
    """Keeps every user's session and tokens: in memory, in auth_state, and alive.

    One renewal per user runs at a time, in a task of its own: who waits for it may go away without stopping it
    between IAM's answer and the save.
    """

    def __init__(self, means: Means) -> None:
        self.means = means
        self.rescheduled: Callable[[str], None] = lambda name: None
        self._entries: dict[str, Entry] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # ---- what everybody asks

    async def tokens(self, user: Any, audiences: Iterable[str], *, at_least: float = 60) -> dict[str, TokenState]:
        """The tokens of these audiences, renewed where they last less than `at_least` seconds (0: as they are).

        Never raises for IAM: a token that could not be had is None, or still the old one, with its problem.
        """
        keys = tuple(audiences)
        entry = await self.load(user)
        if at_least > 0:
            await self._satisfy(user, entry, Wish(keys=keys, at_least=at_least, asked=True))
        return {key: entry.state(key) for key in keys}

    async def renew(self, user: Any, *, force: bool = False, account_only: bool = False) -> None:
        """Does all that is due; with `force` refreshes and exchanges everything now, unless that is under way.

        `account_only` keeps the login itself fresh, for a user without servers: no exchange.
        """
        wish = Wish(force=force, asked=force, account_only=account_only)
        await self._satisfy(user, await self.load(user), wish)

    def peek(self, name: str, audiences: Iterable[str]) -> dict[str, TokenState] | None:
        """What is in memory, without waiting for anything; None when this user's session was not loaded yet."""
        entry = self._entries.get(name)
        return {key: entry.state(key) for key in audiences} if entry is not None and entry.loaded else None

    def version(self, name: str) -> int:
        """Changes whenever `peek` could answer differently."""
        entry = self._entries.get(name)
        return entry.version if entry is not None else 0

    def session(self, name: str) -> Session | None:
        """The session in memory, for those in the hub who only look (status, metrics)."""
        entry = self._entries.get(name)
        return entry.session if entry is not None else None

    def next_due(self, name: str) -> float:
        """When the next renewal is due (epoch seconds); infinite when nothing is to be renewed, or it is not loaded."""
        entry = self._entries.get(name)
        if entry is None or entry.session is None:
            return float("inf")
        now, retries = self.means.clock.now(), entry.retries
        return next_due(entry.session, self.means.timing, now, entitled=entry.entitled, retries=retries)

    async def check_account(self, user: Any) -> asyncio.Task[None] | None:
        """The renewal under way, or the one that the login itself needs now, begun; None when all is well."""
        entry = await self.load(user)
        if entry.task is None or entry.task.done():
            wish = Wish(account_only=True)
            if not self._lacking(user, entry, wish):
                return None
            self._begin(user, entry, wish)
        return entry.task

    def needs_login(self, name: str) -> bool:
        """Whether a loaded session is over, or there is none."""
        entry = self._entries.get(name)
        if entry is None or not entry.loaded:
            return False
        return entry.session is None or entry.session.dead(self.means.clock.now())

    # ---- logins and logouts

    @asynccontextmanager
    async def opening(self, name: str) -> AsyncIterator[None]:
        """While JupyterHub saves a login: renewals under way throw their result away, new ones wait."""
        entry = self._entries.setdefault(name, Entry())
        entry.epoch += 1
        entry.openings += 1
        entry.gate.clear()
        try:
            # Not the lock that renewals hold while they wait for IAM: a login is not to wait for an outage.
            async with entry.reading:
                yield
        finally:
            entry.openings -= 1
            if not entry.openings:
                entry.gate.set()

    def release(self, name: str, owner: int | None) -> None:
        """Before a login: what is in memory under this name is let go unless it is of the hub user with the id `owner`.

        It may be of one who was renamed. None: no hub user has the name now.
        """
        entry = self._entries.get(name)
        if entry is not None and entry.owner not in (None, owner):
            del self._entries[name]

    async def login(self, name: str, auth: NewSession) -> None:
        """Takes over the session of a login that JupyterHub has saved: a new generation."""
        entry = self._entries.setdefault(name, Entry())
        entry.epoch += 1
        entry.adopt(auth.session)
        for key, error in auth.refused.items():
            entry.failed(key, error, self.means.clock.now())
        self.rescheduled(name)

    async def forget(self, name: str, user: Any = None) -> None:
        """Ends the session: tokens are forgotten, the refresh token is revoked at IAM as far as that can be had.

        With the user given their auth_state is emptied, too, but for whose it is.
        """
        entry = self._entry(user) if user is not None else self._entries.pop(name, Entry())
        entry.epoch += 1
        epoch = entry.epoch
        if user is not None and not entry.loaded:
            entry.adopt(session_of(await self._read(user, entry)))
        session = entry.session
        entry.adopt(None)
        if session is None:
            return
        if user is not None:
            await store.save(user, pin_only(session), still_wanted=lambda: entry.epoch == epoch)
        token = session.refresh_token or (session.access.token if session.access else None)
        if token is not None:
            self._spawn(self._revoke(name, session))

    async def subject(self, user: Any) -> tuple[str, str] | None:
        """(issuer, subject) that this hub user belongs to; None before their first login."""
        entry = self._entry(user)
        if entry.session is not None:
            return entry.session.issuer, entry.session.subject
        return pinned(await self._read(user, entry))

    async def close(self) -> None:
        """Lets renewals under way end, so that no rotated refresh token is lost."""
        tasks = [*self._tasks, *(entry.task for entry in self._entries.values() if entry.task)]
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    # ---- how

    async def load(self, user: Any) -> Entry:
        """The user's entry, read from the database where it is not in memory."""
        entry = self._entry(user)
        if not entry.loaded:
            epoch = entry.epoch
            session = session_of(await self._read(user, entry))
            if entry.epoch == epoch and not entry.loaded:
                entry.adopt(session)
            entry.entitled = self.means.entitled(user)
        return entry

    def _entry(self, user: Any) -> Entry:
        """The user's entry, which moves with them when an administrator renames them."""
        name, owner = user.name, user.id
        entry = self._entries.get(name)
        if entry is None or entry.owner not in (None, owner):
            before = next((other for other, known in self._entries.items() if known.owner == owner), None)
            entry = self._entries[name] = Entry() if before is None else self._entries.pop(before)
        entry.owner = owner
        return entry

    async def _read(self, user: Any, entry: Entry) -> dict[str, Any] | None:
        # With several keys a read is a write, too.
        async with entry.reading:
            return await store.load(user)

    async def _satisfy(self, user: Any, entry: Entry, wish: Wish) -> None:
        """Joins the renewal under way; starts another one only if that did not do what is wished."""
        seen = entry.renewals
        for _ in range(2):
            if wish.force and entry.renewals != seen:
                return
            if entry.task is None or entry.task.done():
                if not self._lacking(user, entry, wish):
                    return
                self._begin(user, entry, wish)
            assert entry.task is not None
            await asyncio.shield(entry.task)

    def _begin(self, user: Any, entry: Entry, wish: Wish) -> None:
        entry.task = asyncio.create_task(self._renewal(user, entry, wish))

    def _lacking(self, user: Any, entry: Entry, wish: Wish) -> bool:
        if entry.openings:
            return True
        if entry.session is None:
            return False
        if entry.unsaved:
            return True
        if not wish.account_only:  # this is asked at every request
            entry.entitled = self.means.entitled(user)
        entitled = entry.entitled
        if not set(wish.keys) <= set(entitled) | set(entry.troubles):
            return True
        return bool(
            plan(
                entry.session,
                wish,
                self.means.timing,
                self.means.clock.now(),
                entitled=entitled,
                troubles=entry.troubles,
                retries=entry.retries,
            )
        )

    async def _renewal(self, user: Any, entry: Entry, wish: Wish) -> None:
        try:
            async with entry.lock:
                await entry.gate.wait()
                await Renewal(self.means, user, entry).run(wish)
                entry.entitled = self.means.entitled(user)
            if store.rewritten_by_readers():
                self._spawn(self._confirm(user, entry))
        finally:
            self.rescheduled(user.name)

    async def _confirm(self, user: Any, entry: Entry, *, after_seconds: float = 2.0) -> None:
        """A page that read auth_state while it was saved may have put the old one back: looks, and saves again."""
        await asyncio.sleep(after_seconds)
        if entry.blob is None or store.stored(user) == entry.blob or entry.session is None:
            return
        async with entry.lock:
            await entry.gate.wait()
            epoch, session = entry.epoch, entry.session
            found = session_of(await store.load(user))
            if session and found and found.generation == session.generation and found.serial < session.serial:
                await store.save(user, session.to_auth_state(), still_wanted=lambda: entry.epoch == epoch)
            entry.blob = store.stored(user)

    async def _revoke(self, name: str, session: Session) -> None:
        for token in (session.refresh_token, session.access.token if session.access else None):
            if token is None:
                continue
            try:
                await self.means.client.revoke(token)
            except IAMError as error:
                log.info("user=%s class=%s the session was not revoked at IAM: %s", name, error.label, error.message)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

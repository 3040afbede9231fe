"""One renewal of one user: refresh, save, look at the account, exchange, save."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tornado.web import HTTPError

from jupyterhub_dlaas.bundle.token import Trouble
from jupyterhub_dlaas.errors import DeadSession, IAMError, NoEntitlement, OperatorError, Outage, StaleSubject
from jupyterhub_dlaas.hub import store
from jupyterhub_dlaas.hub.entry import Entry
from jupyterhub_dlaas.hub.health import Health
from jupyterhub_dlaas.hub.metrics import OK, Metrics
from jupyterhub_dlaas.hub.plan import SESSION, Assessment, Plan, Timing, Wish, plan
from jupyterhub_dlaas.hub.session import Held, Session, same_claims, session_of
from jupyterhub_dlaas.oidc.client import IAMClient
from jupyterhub_dlaas.oidc.clock import Clock
from jupyterhub_dlaas.oidc.model import AudienceSpec, Grant
from jupyterhub_dlaas.oidc.secret import Secret

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Means:
    """What a renewal works with. `entitled` names the audiences that a user may have; `assess` judges a refreshed user.

    `lost` is told of a user whose groups or right to log in are gone.
    """

    client: IAMClient
    clock: Clock
    metrics: Metrics
    audiences: Mapping[str, AudienceSpec]
    timing: Timing
    entitled: Callable[[Any], Collection[str]]
    assess: Callable[[Any, Grant, Mapping[str, Any], Session], Awaitable[Assessment]]
    health: Health
    lost: Callable[[Any], None] = lambda user: None


async def exchange(means: Means, subject: Secret, key: str) -> Grant:
    """One exchange, counted and timed. Raises `IAMError` with the audience's key."""
    return await asked(means, "exchange", means.client.exchange(subject, means.audiences[key]), audience=key)


async def asked(means: Means, operation: str, call: Awaitable[T], *, audience: str = "") -> T:
    """Awaits a call to IAM; its outcome moves the metrics and tells of IAM's health."""
    metrics = means.metrics
    started, label = time.monotonic(), "cancelled"
    try:
        answer = await call
        label = OK
        means.health.worked()
        return answer
    except IAMError as error:
        label = error.label
        if isinstance(error, Outage):
            means.health.failed(error)
        else:
            means.health.worked()
        raise
    finally:
        metrics.seconds.labels(operation).observe(time.monotonic() - started)
        if operation == "exchange":
            metrics.exchanges.labels(audience, label).inc()
        elif operation == "refresh":
            metrics.refreshes.labels(label).inc()


class Overtaken(Exception):
    """A login or logout came between; what this renewal got is thrown away."""


class Renewal:
    """Runs under the user's lock. `entry.session` is always the newest known, in memory first, then in the database."""

    def __init__(self, means: Means, user: Any, entry: Entry) -> None:
        self.means, self.user, self.entry = means, user, entry
        self.epoch = entry.epoch
        self.refreshed = False

    async def run(self, wish: Wish) -> None:
        """Does what `plan` says. Troubles with IAM end up in the entry; only the database can raise."""
        try:
            await self._run(self._plan(wish))
            if self.entry.unsaved:
                await self._save()
        except Overtaken:
            log.info("user=%s renewal thrown away: a login or logout came between", self.user.name)
        else:
            self.entry.renewals += 1

    def _plan(self, wish: Wish) -> Plan:
        entry = self.entry
        if entry.session is None:
            return Plan()
        entitled = self.means.entitled(self.user)
        now = self.means.clock.now()
        todo = plan(
            entry.session,
            wish,
            self.means.timing,
            now,
            entitled=entitled,
            troubles=entry.troubles,
            retries=entry.retries,
        )
        for key in {*wish.keys} - set(entitled):
            self._not_entitled(key, now)
        if entry.session.dead(now) and SESSION not in entry.troubles:
            self._trouble(SESSION, DeadSession("The session with IAM is over.", hint="Log in again."))
        return todo

    async def _run(self, todo: Plan) -> None:
        if todo.refresh and not await self._refresh():
            return
        keys = self._still_entitled(todo.exchange)
        got, stale = await self._exchange(keys)
        if stale and not self.refreshed and self._session.refresh_token is not None and await self._refresh():
            more, _ = await self._exchange(self._still_entitled(stale), give_up=True)
            got |= more
        elif stale:
            self._give_up(stale)
        if got:
            now = self.means.clock.now()
            self._update(self._session.with_tokens(got).without_expired(now))

    def _check(self) -> None:
        if self.entry.epoch != self.epoch or self.entry.session is None:
            raise Overtaken

    @property
    def _session(self) -> Session:
        self._check()
        assert self.entry.session is not None
        return self.entry.session

    # ---- refresh

    async def _refresh(self, *, reread: bool = True) -> bool:
        """Refreshes, saves, and brings groups up to date. False: nothing may be exchanged now."""
        before = self._session
        assert before.refresh_token is not None
        try:
            grant = await asked(self.means, "refresh", self.means.client.refresh(before.refresh_token))
        except DeadSession as error:
            if reread and await self._other_writer(before):
                return await self._refresh(reread=False)
            return await self._ended(error)
        except IAMError as error:
            self._check()  # a new login is not to be told of the old one's trouble
            self._trouble(SESSION, error)
            return False
        if self.entry.session is None:
            await self._revoke(grant)
        self.refreshed = True
        self._update(self._session.refreshed(grant))
        if grant.refresh_token not in (None, before.refresh_token):
            # The rotated refresh token comes first: whatever happens next, it is in the database.
            await self._save()
        if SESSION in self.entry.troubles:
            log.info("user=%s IAM accepts the session again", self.user.name)
        self.entry.worked(SESSION)
        await self._look_at_account(grant)
        return self._session.allowed

    async def _revoke(self, grant: Grant) -> None:
        """The user has logged out meanwhile, which could revoke only what was known then."""
        try:
            await self.means.client.revoke(grant.refresh_token or grant.access_token)
        except IAMError as error:
            log.info("user=%s class=%s not revoked at IAM: %s", self.user.name, error.label, error.message)

    async def _ended(self, error: DeadSession) -> bool:
        self._update(self._session.ended())
        self._trouble(SESSION, error)
        return False

    async def _other_writer(self, before: Session) -> bool:
        """Whether the database has another refresh token, one that this hub was not told of; it is taken over."""
        async with self.entry.reading:
            found = session_of(await store.load(self.user))
        if found is None or found.refresh_token in (None, before.refresh_token):
            return False
        log.warning("user=%s auth_state was changed by another writer: its refresh token is tried", self.user.name)
        self._check()
        self.entry.update(found)
        return True

    async def _look_at_account(self, grant: Grant) -> None:
        """Groups, admin flag and the right to log in, from userinfo and the new tokens."""
        try:
            info = await asked(self.means, "userinfo", self.means.client.userinfo(grant.access_token))
        except IAMError as error:
            log.warning("user=%s class=%s userinfo after a refresh: %s", self.user.name, error.label, error.message)
            return
        session = self._session
        if info.get("sub", session.subject) != session.subject:
            log.error("user=%s userinfo is about another subject than the session; it is ignored", self.user.name)
            return
        try:
            found = await self.means.assess(self.user, grant, info, session)
        except (IAMError, ValueError, LookupError, TypeError, AttributeError, HTTPError) as error:
            # An administrator's hook or a claim that is gone: tokens are renewed all the same.
            log.error("user=%s groups and rights not updated: %s", self.user.name, type(error).__name__, exc_info=True)
            return
        session = self._session
        changed = store.apply(self.user, groups=found.groups, admin=found.admin)
        if found.allowed != session.allowed or not same_claims(found.others, session.others):
            self._update(replace(session, allowed=found.allowed, others=found.others, serial=session.serial + 1))
        if changed or found.allowed != session.allowed:
            log.info("user=%s allowed=%s groups changed at IAM", self.user.name, found.allowed)
            self.means.lost(self.user)
        for key in session.tokens.keys() - set(self.means.entitled(self.user)):
            self._not_entitled(key, self.means.clock.now())

    # ---- exchange

    def _still_entitled(self, keys: Collection[str]) -> list[str]:
        entitled = set(self.means.entitled(self.user))
        return [key for key in keys if key in entitled]

    async def _exchange(self, keys: Collection[str], *, give_up: bool = False) -> tuple[dict[str, Held], list[str]]:
        """All at once: (tokens, keys whose subject was refused as stale)."""
        access = self._session.access
        if not keys or access is None:
            return {}, []
        answers = await asyncio.gather(
            *(exchange(self.means, access.token, key) for key in keys), return_exceptions=True
        )
        got: dict[str, Held] = {}
        stale: list[str] = []
        self._check()
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, StaleSubject) and not give_up:
                stale.append(key)
            elif isinstance(answer, IAMError):
                self._trouble(key, answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                got[key] = Held.of(answer)
                self.entry.worked(key)
                log.debug("user=%s audience=%s class=%s renewed", self.user.name, key, OK)
        return got, stale

    def _give_up(self, keys: Collection[str]) -> None:
        for key in keys:
            if key not in self.entry.troubles:
                error = StaleSubject(
                    f"IAM does not accept the session for {key!r}.", hint="Log in again.", audience=key
                )
                self._trouble(key, error)

    # ---- notes

    def _trouble(self, key: str, error: IAMError) -> None:
        before = self.entry.troubles.get(key)
        self.entry.failed(key, error, self.means.clock.now())
        level = logging.DEBUG if before and before.label == error.label else logging.WARNING
        log.log(level, "user=%s audience=%s class=%s %s", self.user.name, key or "-", error.label, error.sentence())

    def _not_entitled(self, key: str, now: float) -> None:
        if key not in self.entry.troubles:
            # No retry is noted: once the groups are there, the exchange follows at once.
            known = key in self.means.audiences
            label = NoEntitlement.label if known else OperatorError.label
            sentence = f"You are in no VO that may use {key!r}." if known else f"This hub knows no audience {key!r}."
            self.entry.troubles[key] = Trouble(label, sentence, now)
            self.entry.version += 1

    def _update(self, session: Session) -> None:
        self.entry.update(session)
        self.entry.unsaved = True

    async def _save(self) -> None:
        session = self._session
        wrote = await store.save(
            self.user, session.to_auth_state(), still_wanted=lambda: self.entry.epoch == self.epoch
        )
        if not wrote:
            raise Overtaken
        self.entry.unsaved = False
        self.entry.blob = store.stored(self.user)

"""Renews in the background, ahead of expiry, for everyone with a running server."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from jupyterhub_dlaas.errors import DLaaSError
from jupyterhub_dlaas.hub.health import Health
from jupyterhub_dlaas.hub.keeper import TokenKeeper
from jupyterhub_dlaas.oidc.clock import Clock

log = logging.getLogger(__name__)

PACE_SECONDS = 0.01
"""Between two starts: what is due all at once is spread, so that the hub's other requests come in between."""
_LONGEST_SLEEP_SECONDS = 30.0  # the clock of the machine may be set
_RESTART_SPREAD_SECONDS = 120.0
_AFTER_AN_ERROR_SECONDS = 60.0


class RefreshService:
    """A heap of due times. An entry of the heap counts only while `_due` says the same, so nothing is searched.

    `has_servers` tells whether a user still has an active server; who has none is dropped when they fall due.
    """

    def __init__(
        self,
        keeper: TokenKeeper,
        clock: Clock,
        health: Health,
        *,
        has_servers: Callable[[Any], bool],
        max_renewals: int = 24,
        rng: random.Random | None = None,
    ) -> None:
        self._keeper, self._clock, self._health, self._has_servers = keeper, clock, health, has_servers
        self._most = max_renewals
        self._random = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._users: dict[str, Any] = {}
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        keeper.rescheduled = self.reschedule

    # ---- who is kept alive

    def watch(self, user: Any) -> None:
        """Keeps this user's tokens alive from now on; again and again is fine."""
        self._users[user.name] = user
        self.reschedule(user.name)

    def unwatch(self, name: str) -> None:
        """Stops keeping them alive: no renewal goes on for nobody."""
        self._users.pop(name, None)
        self._due.pop(name, None)

    def reschedule(self, name: str) -> None:
        """The keeper knows of a new due time of this user."""
        if name in self._users:
            self._schedule(name, self._keeper.next_due(name))

    def restore(self, users: Iterable[Any]) -> None:
        """After a hub restart: everyone with an active server, spread over time, who expires first comes first."""
        self._tasks.append(asyncio.create_task(self._restore(list(users))))

    # ---- life

    def start(self) -> None:
        """Starts the loop."""
        self._tasks.append(asyncio.create_task(self._loop()))

    async def stop(self) -> None:
        """Ends the loop; renewals that have been started may end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=10)

    # ---- what metrics show, worked out at scrape time

    def gauges(self) -> dict[str, float]:
        """Figures over all watched users."""
        now = self._clock.now()
        sessions = [session for name in self._users if (session := self._keeper.session(name)) is not None]
        ends = [held.expires_at for session in sessions for held in session.tokens.values()]
        figures = {
            "users_watched": float(len(self._users)),
            "users_due": float(sum(due <= now for due in self._due.values())),
            "sessions_dead": float(sum(session.dead(now) for session in sessions)),
        }
        return {**figures, "token_seconds_left_min": min(ends) - now} if ends else figures

    # ---- how

    def _schedule(self, name: str, due: float) -> None:
        if due == float("inf"):
            self._due.pop(name, None)
        elif self._due.get(name) != due:
            self._due[name] = due
            heapq.heappush(self._heap, (due, name))
            self._wake.set()

    async def _loop(self) -> None:
        while True:
            self._wake.clear()
            pause = self._start_one()
            if pause > 0:
                await self._sleep(min(pause, _LONGEST_SLEEP_SECONDS))
            else:
                await asyncio.sleep(PACE_SECONDS)

    def _start_one(self) -> float:
        """Starts the renewal that is most due; returns the seconds until there may be another one."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        # While IAM is down one user at a time finds out whether it is back.
        if len(self._running) >= (1 if self._health.down else self._most):
            return _LONGEST_SLEEP_SECONDS
        pause = self._heap[0][0] - self._clock.now() if self._heap else _LONGEST_SLEEP_SECONDS
        pause = max(pause, self._health.wait_seconds())
        if pause > 0:
            return pause
        _, name = heapq.heappop(self._heap)
        self._due.pop(name, None)
        if name not in self._running:
            task = self._running[name] = asyncio.create_task(self._renew(name, self._users[name]))
            task.add_done_callback(lambda _: self._done(name))
        return 0.0

    def _done(self, name: str) -> None:
        self._running.pop(name, None)
        self._wake.set()

    async def _renew(self, name: str, user: Any) -> None:
        due = None
        try:
            if not self._has_servers(user):
                log.info("user=%s has no server any more: their tokens are not kept alive", name)
                self.unwatch(name)
                return
            await self._keeper.renew(user)
            if user.name != name:  # an administrator has renamed them
                self.unwatch(name)
                self.watch(user)
        except (DLaaSError, SQLAlchemyError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            # One user's misfortune is not to stop everybody else's renewals.
            log.error("user=%s renewal failed, tried again in a minute: %s", name, type(error).__name__, exc_info=True)
            due = self._clock.now() + _AFTER_AN_ERROR_SECONDS
        if name in self._users:
            self._schedule(name, due or max(self._keeper.next_due(name), self._clock.now() + 1))

    async def _restore(self, users: list[Any]) -> None:
        for user in users:
            try:
                await self._keeper.load(user)
            except (SQLAlchemyError, ValueError, LookupError, TypeError) as error:
                log.error("user=%s auth_state cannot be read: %s", user.name, type(error).__name__)
                continue
            self._users[user.name] = user
            now, due = self._clock.now(), self._keeper.next_due(user.name)
            if due <= now:
                session = self._keeper.session(user.name)
                ends = min((held.expires_at for held in session.tokens.values()), default=now) if session else now
                # Only what has time is spread; `due` itself keeps the order among those who have none.
                spare = max(0.0, min(_RESTART_SPREAD_SECONDS, (ends - now) / 2))
                due = now + self._random.uniform(0, spare) if spare > 1 else due
            self._schedule(user.name, due)

    async def _sleep(self, seconds: float) -> None:
        tasks = {asyncio.create_task(self._clock.sleep(seconds)), asyncio.create_task(self._wake.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

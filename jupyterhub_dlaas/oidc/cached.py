"""A document of the issuer that is fetched once for everybody, kept, and renewed without anybody waiting."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from jupyterhub_dlaas.errors import IAMError
from jupyterhub_dlaas.oidc.clock import Clock

T = TypeVar("T")
log = logging.getLogger(__name__)

FRESH_SECONDS = 3600.0
FIRST_BACK_OFF_SECONDS = 1.0
LAST_BACK_OFF_SECONDS = 60.0


class Cached(Generic[T]):
    """`await get()` gives the document.

    Concurrent callers share one request. After a failure the next try waits 1, 2, 4 ... 60 s (or as long as the issuer
    asked), and until then everybody gets the same error at once. A document older than an hour is renewed behind the
    callers' backs and stays good while that fails.
    """

    def __init__(self, what: str, fetch: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._what = what
        self._fetch = fetch
        self._clock = clock
        self._fetched_at = 0.0
        self._task: asyncio.Task[T] | None = None
        self._error: IAMError | None = None
        self._failures = 0
        self._failed_at = 0.0
        self.value: T | None = None

    async def get(self) -> T:
        """The document; raises the `IAMError` of the last try when there never was one."""
        if self.value is None:
            return await self.renew()
        if abs(self._clock.now() - self._fetched_at) > FRESH_SECONDS and not self._waiting():
            self._start()
        return self.value

    async def renew(self) -> T:
        """The document as it is now; raises the `IAMError` of the last try when there is none."""
        if self._error is not None and self._waiting():
            raise copy.copy(self._error)
        try:
            # A caller that gives up does not take the request away from the others.
            return await asyncio.shield(self._start())
        except IAMError as error:
            # Everybody gets an error of their own, because callers add to it what they asked for.
            raise copy.copy(error) from None

    @property
    def fetching(self) -> bool:
        """Whether a request is under way, which `renew` would join."""
        return self._task is not None and not self._task.done()

    def _waiting(self) -> bool:
        if self._error is None:
            return False
        back_off = min(LAST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2.0 ** min(self._failures - 1, 10))
        back_off = min(max(back_off, self._error.retry_after or 0.0), FRESH_SECONDS)
        # A clock set back would otherwise stretch the wait by as much.
        return 0 <= self._clock.now() - self._failed_at < back_off

    def _start(self) -> asyncio.Task[T]:
        if self._task is None or not self.fetching:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(_retrieve)
        return self._task

    async def _run(self) -> T:
        try:
            value = await self._fetch()
        except IAMError as error:
            self._failures += 1
            self._error = error
            self._failed_at = self._clock.now()
            kept = "; the last good one stays in use" if self.value is not None else ""
            log.warning("%s not fetched (%s): %s%s", self._what, error.label, error.message, kept)
            raise
        self.value = value
        self._fetched_at = self._clock.now()
        self._error = None
        self._failures = 0
        return value


def _retrieve(task: asyncio.Task[T]) -> None:
    # Nobody may be left to look at the error of a renewal in the background; it is logged already.
    if not task.cancelled():
        task.exception()

"""The one place that reads the time of day, so that a test can move it."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """The real clock: epoch seconds and a sleep."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleeps that many seconds of this clock; returns at once for none or fewer."""
        await asyncio.sleep(max(0.0, seconds))

    def __deepcopy__(self, memo: object) -> Clock:
        # traitlets copies every value of a configuration; a copy of a clock would not be moved with it.
        return self


class ManualClock(Clock):
    """A clock that moves only when told to; who sleeps on it wakes when its time has come.

    `tick=True` lets it also run along with the real clock from where it was set.
    """

    def __init__(self, start: float | None = None, *, tick: bool = False) -> None:
        self._base = time.time() if start is None else start
        self._started = time.monotonic()
        self._tick = tick
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._base + (time.monotonic() - self._started if self._tick else 0.0)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        due = self.now() + seconds
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (due, future)
        self._sleepers.append(entry)
        try:
            if self._tick:
                await asyncio.wait({future}, timeout=seconds)
            else:
                await future
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    def advance(self, seconds: float) -> None:
        """Moves the clock on (or back) and wakes who is due."""
        self._base += seconds
        now = self.now()
        for due, future in list(self._sleepers):
            if due <= now and not future.done():
                future.set_result(None)

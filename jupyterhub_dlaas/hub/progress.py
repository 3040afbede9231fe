"""The steps of a server's start, in words, for JupyterHub's progress page."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

from jupyterhub_dlaas.bundle.mounts import MountState
from jupyterhub_dlaas.bundle.token import TokenState


class Progress:
    """A list of steps that any number of progress pages can follow, each from its beginning."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._grown = asyncio.Event()

    def add(self, message: str, percent: int | None = None) -> None:
        """Adds a step. `message` is plain text; JupyterHub's page shows it as text, not as HTML."""
        event: dict[str, Any] = {"message": message}
        if percent is not None:
            event["progress"] = percent
        self.events.append(event)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Every step so far and then each new one; ends only with its reader."""
        seen = 0
        while True:
            grown = self._grown
            for event in self.events[seen:]:
                yield dict(event)
            seen = len(self.events)
            if self._grown is grown:
                await grown.wait()


def token_step(key: str, state: TokenState | None) -> str:
    """One audience's outcome: "Access to rucio until 14:05 UTC" or "eos-eulake: <what IAM said>"."""
    if state is not None and state.token is not None and state.expires_at is not None:
        return f"Access to {key} until {clock_time(state.expires_at)}"
    if state is not None and state.problem is not None:
        return f"{key}: {state.problem.sentence}"
    return f"{key}: no access yet"


def mount_step(mount: MountState) -> str:
    """One mount's outcome, with whom to ask when it is dead."""
    if mount.alive:
        return f"{mount.name} is mounted at {mount.path}"
    reason = f": {mount.problem}" if mount.problem else ""
    return f"{mount.name} is not available at {mount.path}{reason}. Ask the administrators of this hub about it."


def clock_time(instant: float) -> str:
    """An epoch instant as hours and minutes, UTC said so, because the hub and its users need not share a time zone."""
    return datetime.datetime.fromtimestamp(instant, datetime.UTC).strftime("%H:%M UTC")

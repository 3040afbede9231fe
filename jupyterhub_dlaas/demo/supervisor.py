"""Starts the parts of a demo one after another, keeps them running, and leaves no process behind."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from jupyterhub_dlaas.demo.state import DemoError

PR_SET_CHILD_SUBREAPER = 36
LAST_LINES = 15
HEALTHY_SECONDS = 60


@dataclass(frozen=True)
class Part:
    """One program. `url` answers (no error) when it is ready; without, its end with code 0 means it is done.

    `ready_line`: instead of an address, a text in its log.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    url: str = ""
    ready_line: str = ""
    limit_seconds: float = 120
    grace_seconds: float = 10

    @property
    def once(self) -> bool:
        return not (self.url or self.ready_line)


class Supervisor:
    """Runs parts with their logs in a folder. `say` gets one line of progress at a time, at least every 10 s."""

    def __init__(self, logs: Path, say: Callable[[str], None], *, every_seconds: float = 8, restarts: int = 3) -> None:
        self._logs, self._say, self._every, self._restarts = logs, say, every_seconds, restarts
        self._running: dict[str, tuple[Part, Process]] = {}
        self._others = set(psutil.Process().children())  # not ours to end
        adopt_orphans()

    def log(self, part: Part) -> Path:
        return self._logs / f"{part.name.lower().replace(' ', '-')}.log"

    async def start(self, part: Part) -> None:
        """Returns when the part is ready (or done). DemoError with the last lines of its log when it fails."""
        started = time.monotonic()
        self._say(f"{part.name} ...")
        process = await self._spawn(part, "wb")
        if not part.once:
            self._running[part.name] = (part, process)
        said = started
        while not await self._ready(part, process):
            now = time.monotonic()
            if process.returncode is not None:
                raise self.failure(part, f"{part.name} ended with code {process.returncode}")
            if now - started > part.limit_seconds:
                if part.once:
                    await _end(process, 2)
                raise self.failure(part, f"{part.name} was not ready after {part.limit_seconds:g} s")
            if now - said >= self._every:
                said = now
                self._say(f"{part.name}: {now - started:.0f} s, {self._last(part, 1) or 'still starting'}")
            await asyncio.sleep(0.1)
        self._say(f"{part.name}: {'done' if part.once else 'ready'} after {time.monotonic() - started:.1f} s")

    async def watch(self) -> None:
        """Runs until cancelled. A part that dies is started again; DemoError when it keeps dying."""
        deaths: dict[str, int] = {}
        began: dict[str, float] = {}
        while True:
            for name, (part, process) in list(self._running.items()):
                if process.returncode is None:
                    continue
                lived = time.monotonic() - began.get(name, 0)
                deaths[name] = 1 if lived > HEALTHY_SECONDS else deaths.get(name, 0) + 1
                if deaths[name] > self._restarts:
                    raise self.failure(part, f"{name} ended {deaths[name]} times, the last with {process.returncode}")
                self._say(f"{name} ended with code {process.returncode} and is started again; log: {self.log(part)}")
                self._running[name] = (part, await self._spawn(part, "ab"))
                began[name] = time.monotonic()
            self._reap()
            await asyncio.sleep(1)

    async def stop(self) -> None:
        """Ends all parts, the last one first, then whatever processes they left (users' servers, a proxy)."""
        for part, process in reversed(self._running.values()):
            await _end(process, part.grace_seconds)
        self._running.clear()
        ours = set(psutil.Process().children()) - self._others
        left = [process for child in ours for process in _tree(child)]
        for child in left:
            _signal(child, signal.SIGTERM)
        _, alive = await asyncio.to_thread(psutil.wait_procs, left, timeout=5)
        for child in alive:
            _signal(child, signal.SIGKILL)
        self._reap()

    def failure(self, part: Part, what: str) -> DemoError:
        """The error for a part that failed, with the end of its log."""
        lines = self._last(part, LAST_LINES)
        return DemoError(f"{what}. The last lines of its log {self.log(part)}:\n{lines or '(the log is empty)'}")

    async def _spawn(self, part: Part, mode: str) -> Process:
        with self.log(part).open(mode) as log:
            # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops all in order.
            return await asyncio.create_subprocess_exec(
                *part.command,
                env=dict(part.environment),
                cwd=part.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _ready(self, part: Part, process: Process) -> bool:
        if part.once:
            return process.returncode == 0
        if part.ready_line:
            return part.ready_line in self.log(part).read_text(errors="replace")
        return process.returncode is None and await answers(part.url)

    def _last(self, part: Part, lines: int) -> str:
        path = self.log(part)
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])

    def _reap(self) -> None:
        """Orphans come to us (see `adopt_orphans`): an ended one must not look alive to the hub that polls it."""
        ours = {process.pid for _, process in self._running.values()}
        for child in psutil.Process().children():
            try:
                if child.pid not in ours and child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)
            except (psutil.NoSuchProcess, ChildProcessError):
                continue


def adopt_orphans() -> None:
    """Makes this process the parent of all orphans below it, so that none can get away (Linux; see prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def answers(url: str) -> bool:
    """Whether an HTTP server answers there without an error."""
    timeout = aiohttp.ClientTimeout(total=3)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, allow_redirects=False) as answer:
            return answer.status < 400
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _end(process: Process, grace_seconds: float) -> None:
    if process.returncode is not None:
        return
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if await _within(process.wait(), patience):
            return


async def _within(waiting: Awaitable[object], seconds: float) -> bool:
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return

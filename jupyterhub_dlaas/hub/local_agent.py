"""Agents as processes of this machine: started with an inherited pipe, watched, found again after a hub restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_dlaas.errors import BundleError
from jupyterhub_dlaas.hub.local_places import Account
from jupyterhub_dlaas.oidc.secret import Secret

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")
_LONGEST_READY_LINE = 8192
_KILL_SECONDS = 2.0


@dataclass(frozen=True)
class AgentProcess:
    """A process that is told from a later one with the same pid by when it began (clock ticks since boot)."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> AgentProcess:
        """The process that has this pid now; its `began` is -1 when there is none."""
        return cls(pid, _began(pid))

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return self.began >= 0 and _began(self.pid) == self.began

    async def ended(self) -> None:
        """Returns when the process is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.alive:
                return
            loop = asyncio.get_running_loop()
            over: asyncio.Future[None] = loop.create_future()
            loop.add_reader(fd, over.cancel)
            try:
                await asyncio.wait({over})
            finally:
                loop.remove_reader(fd)
        finally:
            os.close(fd)
        reap(self.pid)

    def kill(self) -> bool:
        """Ends it and its children at once, whatever they do: the next agent cleans up. False if it would not go."""
        deadline = time.monotonic() + _KILL_SECONDS
        while self.alive and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # `launch` gave it a session, and so a group, of its own
            time.sleep(0.002)
        reap(self.pid)
        return not self.alive


def launch(
    argv: Callable[[int, int], list[str]], credential: Secret, account: Account | None
) -> tuple[AgentProcess, int]:
    """Starts an agent, `argv(credential_fd, ready_fd)` being its command; returns it and its ready pipe's reading end.

    The credential is in the pipe before the process exists, and nowhere else.
    """
    credential_read, credential_write = os.pipe()
    ready_read, ready_write = os.pipe()
    try:
        os.write(credential_write, credential.reveal().encode())
        os.close(credential_write)
        process = subprocess.Popen(
            argv(credential_read, ready_write),
            pass_fds=(credential_read, ready_write),
            env={key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ},
            cwd="/",
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else account.groups,
        )
    except BaseException:
        os.close(ready_read)
        raise
    finally:
        os.close(credential_read)
        os.close(ready_write)
    process.returncode = 0  # reaped by `ended` or `kill`, not by subprocess
    return AgentProcess.of(process.pid), ready_read


async def ready(fd: int, seconds: float) -> None:
    """Waits for the agent's word on its ready pipe and closes it. Raises BundleError with the agent's reason."""
    try:
        line = await asyncio.wait_for(_read_line(fd), seconds)
    except TimeoutError:
        raise BundleError(f"The data lake's files were not there after {seconds:.0f} seconds.") from None
    finally:
        os.close(fd)
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise BundleError("The data lake's agent ended before its first files were written; the hub's log has why.")
    if answer.get("ok") is not True:
        raise BundleError(str(answer.get("reason") or "The data lake's agent gave no reason.")[:1000])


async def _read_line(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    done: asyncio.Future[None] = loop.create_future()
    data = bytearray()

    def more() -> None:
        part = os.read(fd, 4096)
        data.extend(part)
        if (not part or b"\n" in part or len(data) > _LONGEST_READY_LINE) and not done.done():
            done.set_result(None)

    loop.add_reader(fd, more)
    try:
        await done
    finally:
        loop.remove_reader(fd)
    return bytes(data)


def _began(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    fields = text.rpartition(")")[2].split()  # the command's name before it may hold anything
    return -1 if fields[0] in "ZX" else int(fields[19])


def reap(pid: int) -> None:
    """Takes note of the end of a child that nobody waits for."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

"""Work that may hang or needs much memory, done in forked children that can be killed.

A process that waits for a dead mount or a silent name server cannot be woken by a signal handler of its own; a process
that waits for a child can. What a child imported (TLS alone is 8 MB) is gone when it ends.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping

from jupyterhub_dlaas.agent.trouble import AgentError, reason

_GRACE_SECONDS = 1.0  # between SIGKILL and giving up on a child that the kernel does not let die


class Children:
    """Runs functions in children, a few at a time. The process must have one thread only, because it forks."""

    def __init__(self) -> None:
        self._stuck: dict[str, tuple[int, int]] = {}  # killed, but still inside the kernel: pid, pidfd

    def run(self, tasks: Mapping[str, Callable[[], bytes]], seconds: float) -> dict[str, bytes | None]:
        """The bytes that each task returned, all run at once; None for one that had no answer after `seconds`.

        A task whose child of an earlier call still cannot die is not started again. Tasks must not raise: a child that
        fails counts as one without an answer. Raises AgentError where this machine has no room for another process.
        """
        running: dict[str, _Child] = {}
        answers: dict[str, bytes | None] = dict.fromkeys(tasks)
        try:
            for key, task in tasks.items():
                if not self._is_stuck(key):
                    running[key] = _Child(task, seconds)
            _wait(running, time.monotonic() + seconds)
            answers.update({key: child.answer for key, child in running.items()})
        except OSError as error:
            raise AgentError(f"The agent cannot start a process of its own: {reason(error)}.") from None
        finally:  # also when a signal ends the agent in the middle
            for child in running.values():
                child.kill()
        _wait(running, time.monotonic() + _GRACE_SECONDS)
        for key, child in running.items():
            if child.pidfd >= 0:
                self._stuck[key] = child.pid, child.pidfd
        return answers

    def _is_stuck(self, key: str) -> bool:
        if key not in self._stuck:
            return False
        pid, pidfd = self._stuck[key]
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            return True
        os.close(pidfd)
        del self._stuck[key]
        return False


class _Child:
    def __init__(self, task: Callable[[], bytes], seconds: float) -> None:
        self.answer: bytes | None = None
        self._parts: list[bytes] = []
        self.pipe, writing = os.pipe()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _be_child(task, writing, seconds)
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            os.close(self.pipe)
            raise
        finally:
            os.close(writing)

    def read(self) -> None:
        data = os.read(self.pipe, 65536)
        if data:
            self._parts.append(data)
            return
        self._close_pipe()

    def reap(self) -> None:
        while self.pipe >= 0:  # what is still in the pipe; the one writer is gone, so this never waits
            self.read()
        if os.waitpid(self.pid, 0)[1] == 0:
            self.answer = b"".join(self._parts)
        os.close(self.pidfd)
        self.pidfd = -1

    def kill(self) -> None:
        if self.pidfd >= 0:
            self._close_pipe()
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def _close_pipe(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


def _wait(children: Mapping[str, _Child], deadline: float) -> None:
    while True:
        by_fd = {}
        for child in children.values():
            by_fd.update({fd: child for fd in (child.pipe, child.pidfd) if fd >= 0 and child.pidfd >= 0})
        left = deadline - time.monotonic()
        if not by_fd or left <= 0:
            return
        poll = select.poll()
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        for fd, _event in poll.poll(left * 1000):
            child = by_fd[fd]
            if fd == child.pidfd:
                child.reap()
            elif fd == child.pipe:  # else the child was reaped, pipe and all, a moment ago
                child.read()


def _be_child(task: Callable[[], bytes], writing: int, seconds: float) -> None:
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # Ends by itself should the agent be killed, and holds nothing open that somebody reads to its end.
        signal.alarm(int(seconds) + 2)
        os.closerange(0, writing)
        os.closerange(writing + 1, 1024)
        data = memoryview(task())
        while data:
            data = data[os.write(writing, data) :]
        os._exit(0)
    finally:
        os._exit(1)

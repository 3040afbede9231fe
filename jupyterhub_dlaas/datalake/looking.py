"""The sizes of many files at once, in bounded time: in a dead FUSE or NFS mount a call never returns."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from jupyterhub_dlaas.datalake.advice import ADVICE
from jupyterhub_dlaas.datalake.failure import Code, Failure

_THREADS = 32
_PER_TASK = 32  # files: an errand to a thread costs more than a look into a local disk
_SECONDS = 60.0

_Task = tuple[int, list[str]]
_Result = tuple[int, list[int]]


class Looker:
    """Asks for sizes with threads that nobody waits for at the end."""

    def __init__(self, limit_seconds: float = _SECONDS) -> None:
        self._limit = limit_seconds
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._results: SimpleQueue[_Result] = SimpleQueue()
        self._threads = 0

    def sizes(self, paths: Sequence[str]) -> list[int]:
        """Each path's size in bytes, or the negative errno why it has none (-EISDIR for what is no file).

        A Failure (UNREACHABLE) when nothing comes back for the limit.
        """
        starts = range(0, len(paths), _PER_TASK)
        for start in starts:
            self._tasks.put((start, list(paths[start : start + _PER_TASK])))
        while self._threads < min(_THREADS, len(starts)):
            # Daemons: Python would wait for others at its end, for ever.
            threading.Thread(target=self._work, daemon=True).start()
            self._threads += 1
        found = [0] * len(paths)
        for _ in starts:
            try:
                start, sizes = self._results.get(timeout=self._limit)
            except Empty:
                raise Failure(
                    f"The folder of {paths[0]!r} does not answer within {self._limit:.0f} s.",
                    ADVICE["mount"],
                    Code.UNREACHABLE,
                ) from None
            found[start : start + len(sizes)] = sizes
        return found

    def close(self) -> None:
        """Lets the threads end that still can."""
        for _ in range(self._threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            start, paths = task
            self._results.put((start, [_size(path) for path in paths]))


@contextmanager
def looking(limit_seconds: float = _SECONDS) -> Iterator[Looker]:
    """A Looker, closed at the end."""
    looker = Looker(limit_seconds)
    try:
        yield looker
    finally:
        looker.close()


def _size(path: str) -> int:
    try:
        status = os.stat(path)
    except OSError as error:
        return -(error.errno or errno.EIO)
    except ValueError:  # a name with a zero byte
        return -errno.ENOENT
    return status.st_size if stat.S_ISREG(status.st_mode) else -errno.EISDIR

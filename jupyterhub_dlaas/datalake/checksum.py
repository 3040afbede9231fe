"""adler32 of many files and of very large ones: several threads, reusable buffers, and no file that changes meanwhile.

zlib lets other threads run while it sums, and the adler32 of two halves gives that of the whole (RFC 1950 section 9),
so the pieces of one large file are summed at the same time, too.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jupyterhub_dlaas.datalake.failure import failure_of
from jupyterhub_dlaas.datalake.scan import Found

_MODULUS = 65521
_BUFFER = 1 << 19  # bytes; stays in a core's cache between the reading and the summing
_PIECE = 64 << 20  # bytes of a large file that one thread sums
_SMALL = 1 << 20  # bytes; files below this go to a thread several at a time
_TOGETHER = 32
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Sum:
    """A file with its adler32 as Rucio writes it, eight hexadecimal digits; or "" and the problem in words."""

    found: Found
    adler32: str
    problem: str = ""


def adler32(path: str | os.PathLike[str], *, workers: int | None = None) -> str:
    """The adler32 of one file; OSError where it cannot be read, ValueError where it changed meanwhile."""
    status = os.stat(path)
    fields = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    result = next(iter(adler32_of([Found(os.fspath(path), "", *fields)], workers=workers)))
    if result.problem:
        raise ValueError(f"{os.fspath(path)}: {result.problem}")
    return result.adler32


def adler32_of(
    files: Iterable[Found],
    *,
    workers: int | None = None,
    on_bytes: Callable[[int], None] = lambda count: None,
    piece: int = _PIECE,
) -> Iterator[Sum]:
    """The sums in the order of the files, a few files ahead of who takes them; memory does not grow with their number.

    `on_bytes` is called from several threads with how many bytes more were read.
    """
    count = workers or min(8, os.cpu_count() or 1)
    stop = threading.Event()
    pool = ThreadPoolExecutor(count, thread_name_prefix="adler32")
    waiting: deque[_Work] = deque()
    groups = _groups(files)
    try:
        while True:
            # Enough ahead that no thread waits, and few enough open files.
            while sum(len(work.futures) for work in waiting) < 4 * count + 4:
                group = next(groups, None)
                if group is None:
                    break
                waiting.append(_Work(group, pool, piece, stop, on_bytes))
            if not waiting:
                return
            yield from waiting.popleft().results()
    finally:
        stop.set()
        for work in waiting:
            work.close()
        pool.shutdown(wait=True, cancel_futures=True)


def _groups(files: Iterable[Found]) -> Iterator[list[Found]]:
    """Small files in lists, a larger one alone."""
    group: list[Found] = []
    for found in files:
        if found.size >= _SMALL:
            if group:
                yield group
                group = []
            yield [found]
            continue
        group.append(found)
        if len(group) == _TOGETHER:
            yield group
            group = []
    if group:
        yield group


class _Work:
    """Some small files in one thread, or one large file's pieces in several."""

    def __init__(
        self,
        group: list[Found],
        pool: ThreadPoolExecutor,
        piece: int,
        stop: threading.Event,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._found = group[0]
        self._descriptor: int | None = None
        self._problem = ""
        self.futures: list[Future[list[Sum]]] | list[Future[tuple[int, int]]]
        if len(group) > 1 or group[0].size <= piece:
            self._pieces = False
            self.futures = [pool.submit(_whole, group, stop, on_bytes)]
            return
        self._pieces = True
        try:
            self._descriptor = os.open(self._found.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            self._problem, self.futures = _words(error), []
            return
        starts = range(0, self._found.size, piece)
        self.futures = [
            pool.submit(_piece, self._descriptor, start, min(start + piece, self._found.size), stop, on_bytes)
            for start in starts
        ]

    def results(self) -> list[Sum]:
        try:
            if not self._pieces:
                return [entry for future in self.futures for entry in future.result()]  # type: ignore[misc]
            if self._descriptor is None:
                return [Sum(self._found, "", self._problem)]
            return [self._joined(self._descriptor)]
        finally:
            self.close()

    def _joined(self, descriptor: int) -> Sum:
        value = 1
        try:
            for future in self.futures:
                part, length = future.result()
                value = combined(value, part, length)  # type: ignore[arg-type]
            problem = _changed(self._found, descriptor)
        except (OSError, EOFError) as error:
            problem = _words(error)
        return Sum(self._found, "" if problem else f"{value:08x}", problem)

    def close(self) -> None:
        for future in self.futures:
            future.cancel()
        if self._descriptor is not None:
            for future in self.futures:
                if not future.cancelled():
                    future.exception()  # until the thread has let go of the file
            os.close(self._descriptor)
            self._descriptor = None


def _whole(group: list[Found], stop: threading.Event, on_bytes: Callable[[int], None]) -> list[Sum]:
    done = []
    for found in group:
        try:
            descriptor = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                value, _ = _piece(descriptor, 0, found.size, stop, on_bytes)
                problem = _changed(found, descriptor)
            finally:
                os.close(descriptor)
        except (OSError, EOFError) as error:
            done.append(Sum(found, "", _words(error)))
            continue
        done.append(Sum(found, "" if problem else f"{value:08x}", problem))
    return done


def _piece(
    descriptor: int, start: int, end: int, stop: threading.Event, on_bytes: Callable[[int], None]
) -> tuple[int, int]:
    """adler32 of the bytes from `start` to `end`, and how many they are."""
    buffer: memoryview | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = memoryview(bytearray(_BUFFER))
    value, at = 1, start
    while at < end and not stop.is_set():
        count = os.preadv(descriptor, [buffer[: min(_BUFFER, end - at)]], at)
        if not count:
            raise EOFError
        value = zlib.adler32(buffer[:count], value)
        at += count
        on_bytes(count)
    return value, end - start


def combined(first: int, second: int, length: int) -> int:
    """The adler32 of two parts from theirs; `length` is the second one's, in bytes (zlib's adler32_combine)."""
    a1, b1, a2, b2 = first & 0xFFFF, first >> 16, second & 0xFFFF, second >> 16
    a = (a1 + a2 - 1) % _MODULUS
    b = (b1 + b2 + length % _MODULUS * (a1 - 1)) % _MODULUS
    return b << 16 | a


def _changed(found: Found, descriptor: int) -> str:
    """Compares what was found, the open file, and what is at its path now."""
    try:
        now = os.stat(found.path, follow_symlinks=False)
    except FileNotFoundError:
        return "it was removed while it was read"
    return "" if found.same_as(os.fstat(descriptor)) and found.same_as(now) else CHANGED


CHANGED = "it changed while it was read"


def _words(error: OSError | EOFError) -> str:
    if isinstance(error, EOFError):
        return CHANGED  # it became shorter
    if isinstance(error, FileNotFoundError):
        return "it was removed before it was read"
    known = failure_of(error)
    return f"it cannot be read ({error.strerror or known})"


__all__ = ["CHANGED", "Sum", "adler32", "adler32_of", "combined"]

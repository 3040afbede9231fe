"""One file into a folder: written beside its place, checked while it is written, and put there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jupyterhub_dlaas.datalake.dids import File
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of
from jupyterhub_dlaas.datalake.sources import Source
from jupyterhub_dlaas.datalake.storage_tokens import read
from jupyterhub_dlaas.datalake.streams import CHUNK, Reader, Stopped
from jupyterhub_dlaas.datalake.token_file import expiry

_TRIES = 2
_GIVEN_UP_AFTER = 3  # files in a row for which a storage did not answer
_RENEWAL_SECONDS = 90.0  # the hub's agent asks every 45 s
_HOST = socket.gethostname()


class Digest(Protocol):
    """A running checksum."""

    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


class Adler32:
    """adler32 as Rucio writes it: eight hexadecimal digits."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: Any, /) -> None:
        """Takes more bytes; other threads run meanwhile."""
        self._value = zlib.adler32(data, self._value)

    def hexdigest(self) -> str:
        """The sum so far."""
        return f"{self._value:08x}"


def digest_of(file: File) -> tuple[Digest | None, str]:
    """An empty checksum of the kind that Rucio knows for this file, and what it should become; None where none is."""
    if file.adler32:
        return Adler32(), file.adler32.lower().rjust(8, "0")
    if file.md5:
        return hashlib.md5(usedforsecurity=False), file.md5.lower()
    return None, ""


def is_whole(path: Path, file: File) -> bool:
    """Whether the file at `path` has the size and the checksum that Rucio knows; OSError where it cannot be read."""
    digest, expected = digest_of(file)
    if path.stat().st_size != file.bytes:
        return False
    if digest is None:
        return True
    buffer = memoryview(bytearray(CHUNK))
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest() == expected


class Health:
    """Which storages answer, for all threads: one that is down is not asked ten thousand times.

    And which tokens are worth waiting for: those that were there and expired, until one did not come.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent: Counter[str] = Counter()
        self._had: set[Path] = set()
        self._in_vain: set[Path] = set()

    def given_up(self, way: str) -> bool:
        """Whether it did not answer for several files in a row."""
        return self._silent[way] >= _GIVEN_UP_AFTER

    def heard(self, way: str, answered: bool) -> None:
        """What came of one more file."""
        with self._lock:
            self._silent[way] = 0 if answered else self._silent[way] + 1

    def may_come(self, path: Path | None, token: str | None) -> bool:
        """Whether the token, which was just used or was not there, is likely to be renewed soon."""
        if path is None:
            return False
        if token is not None:
            self._had.add(path)
        until = expiry(token) if token else None
        spent = path in self._had if token is None else until is not None and until <= time.time() + 1
        return spent and path not in self._in_vain

    def came_not(self, path: Path) -> None:
        """Nobody waits for it any more."""
        self._in_vain.add(path)


@dataclass(frozen=True)
class Fetcher:
    """Gets files for one thread. `on_bytes` hears of every byte written, and of those that came to nothing as minus."""

    reader: Reader
    health: Health
    stop: threading.Event
    on_bytes: Callable[[int], None]
    other: Callable[[Source, Path], None]
    """Gets a source that the reader cannot read into a path: Rucio's own protocols."""
    renewal_seconds: float = _RENEWAL_SECONDS

    def fetch(self, file: File, sources: Sequence[Source], target: Path) -> Source:
        """Puts the file at `target` from the first source that has it whole; returns that one.

        Failure of the last source that said something worth telling; NO_SPACE at once; Stopped.
        """
        part = part_of(target)
        worst: Failure | None = None
        for source in sources:
            if self.health.given_up(source.way):
                worst = worst or Failure(f"{source.rse} does not answer.", "Try again later.", Code.UNREACHABLE)
                continue
            try:
                self._try(file, source, part)
            except Failure as failure:
                if failure.code is Code.NO_SPACE:
                    raise
                self.health.heard(source.way, failure.code is not Code.UNREACHABLE)
                worst = _more_telling(worst, failure)
                continue
            self.health.heard(source.way, answered=True)
            os.replace(part, target)
            return source
        raise worst or Failure(
            "No storage that can be read has it.", "See where it is: datalake info DID", Code.NOT_FOUND
        )

    def _try(self, file: File, source: Source, part: Path) -> None:
        """Several times, where that may help: a broken transfer, wrong bytes, a token that is being renewed."""
        waited = False
        tries = 0
        while True:
            tries += 1
            token_file = None if source.scheme == "file" else self.reader.token_file(source)
            token = read(token_file)
            awaited = self.health.may_come(token_file, token)
            try:
                self._copy(file, source, part)
                return
            except Failure as failure:
                if self.stop.is_set():
                    raise Stopped from failure
                if failure.code is Code.REFUSED and token_file and awaited and not waited:
                    waited = True
                    if self._renewed(token_file, token):
                        continue
                if tries >= _TRIES or failure.code not in {Code.UNREACHABLE, Code.FAILED, Code.BAD_DATA}:
                    raise
                self.stop.wait(0.5 * tries)

    def _renewed(self, path: Path, before: str | None) -> bool:
        """Waits until there is another token in the file, as the hub renews them; False where none comes."""
        until = time.monotonic() + self.renewal_seconds
        while time.monotonic() < until and not self.stop.wait(0.2):
            if read(path) not in {before, None}:
                return True
        self.health.came_not(path)
        return False

    def _copy(self, file: File, source: Source, part: Path) -> None:
        digest, expected = digest_of(file)
        written = 0
        try:
            if not self.reader.can(source):
                self.other(source, part)
                if not is_whole(part, file):
                    raise _wrong(file, source, part.stat().st_size)
                self.on_bytes(file.bytes)
                return
            with open(part, "wb", buffering=0) as stream:
                for chunk in self.reader.chunks(source):
                    if written + len(chunk) > file.bytes:
                        raise _wrong(file, source, written + len(chunk))
                    _write(stream, chunk)
                    written += len(chunk)
                    if digest is not None:
                        digest.update(chunk)
                    self.on_bytes(len(chunk))
            if written != file.bytes or (digest is not None and digest.hexdigest() != expected):
                raise _wrong(file, source, written)
        except BaseException as error:
            self.on_bytes(-written)
            part.unlink(missing_ok=True)
            if isinstance(error, OSError) and (failure := failure_of(error)) is not None:
                raise failure from error
            raise


def part_of(target: Path) -> Path:
    """Where the file is written until it is whole: beside its place, hidden, and this process's own."""
    key = hashlib.sha1(target.name.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()[:16]
    return target.parent / f".{key}.{_HOST}.{os.getpid()}.part"


def sweep(folder: Path) -> None:
    """Removes what a process of this machine that was killed has left in the folder."""
    for left in folder.glob(f".*.{_HOST}.*.part"):
        pid = left.name.rsplit(".", 2)[1]
        if pid.isdigit() and not _runs(int(pid)):
            left.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _write(stream: Any, chunk: memoryview | bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[stream.write(view) :]


def _wrong(file: File, source: Source, size: int) -> Failure:
    what = f"{size:,} of {file.bytes:,} bytes" if size != file.bytes else "other bytes than were registered"
    return Failure(
        f"{source.rse} gives {what}.", "Tell your VO's data managers that this copy is damaged.", Code.BAD_DATA
    )


_TELLING = (Code.NOT_FOUND, Code.FAILED, Code.UNREACHABLE, Code.BAD_DATA, Code.REFUSED)


def _more_telling(one: Failure | None, other: Failure) -> Failure:
    """Of two sources' answers, the one that the user can do more about."""
    if one is None or one.code not in _TELLING:
        return other
    return other if other.code in _TELLING and _TELLING.index(other.code) > _TELLING.index(one.code) else one

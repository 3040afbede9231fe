"""What a run has done already, so that the same command goes on where it stopped.

One file per command and what it was given, in `~/.local/state/datalake` (`$XDG_STATE_HOME/datalake`): not on a
scratch area, where cleaning could take it for leftovers. Lines of JSON, only ever added: a kill in the middle of one
spoils that line alone. Losing the file costs time, not truth: Rucio is asked what is there already.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.failure import Code, Failure

SUFFIX = ".datalake-journal.jsonl"
_SLOW = 16 << 20  # bytes: a sum that took this much reading is worth a line


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the journals are (XDG Base Directory Specification, `XDG_STATE_HOME`)."""
    state = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or Path.home(), ".local/state")
    return Path(state) / "datalake"


class Journal:
    """The journal of one command; a Failure where another process has it open.

    `registered` holds the marks of files that Rucio has; `sums` the adler32 of files that it has not got yet.
    """

    def __init__(self, about: Mapping[str, Any], where: Path | None = None) -> None:
        self.about = dict(about)
        identity = hashlib.blake2b(json.dumps(self.about, sort_keys=True).encode(), digest_size=8).hexdigest()
        parent = folder() if where is None else where
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = parent / f"{self.about.get('command', 'run')}-{identity}{SUFFIX}"
        self.registered: set[bytes] = set()
        self.sums: dict[bytes, str] = {}
        self.facts: list[dict[str, Any]] = []
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock()
            self._read()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _lock(self) -> None:
        for last in (False, False, True):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in {errno.ENOLCK, errno.EOPNOTSUPP}:
                    return  # a file system without locks
                if last:
                    raise Failure(
                        "The same command is at work already, in another terminal or notebook.",
                        "Wait until it is done, or stop it.",
                        Code.USAGE,
                    ) from error
                time.sleep(0.05)  # `dlaas scratch clean` looks whether it is locked, for a moment
            else:
                return

    def _read(self) -> None:
        entry: Any
        last = b"\n"
        with open(self.path, "rb") as lines:
            for line in lines:
                last = line
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # the line that a kill or a full disk cut off
                self._take(entry)
        if not last.endswith(b"\n"):
            os.write(self._descriptor, b"\n")
        if os.fstat(self._descriptor).st_size == 0:
            self._add({"version": 1, "started": round(time.time()), **self.about})

    def _take(self, entry: dict[str, Any]) -> None:
        if "registered" in entry:
            marks = [bytes.fromhex(mark) for mark in entry["registered"]]
            self.registered.update(marks)
            for mark in marks:
                self.sums.pop(mark, None)
        elif "sum" in entry:
            self.sums[bytes.fromhex(entry["sum"])] = entry["adler32"]
        elif "fact" in entry:
            self.facts.append(entry)

    def summed(self, mark: bytes, size: int, adler32: str) -> None:
        """Keeps the adler32 of a file that took long to read."""
        if size >= _SLOW and mark not in self.sums:
            self.sums[mark] = adler32
            self._add({"sum": mark.hex(), "adler32": adler32})

    def has(self, marks: Iterable[bytes]) -> None:
        """Rucio has these files now."""
        new = [mark for mark in marks if mark not in self.registered]
        if new:
            self._add({"registered": [mark.hex() for mark in new]})
            self.registered.update(new)
            for mark in new:
                self.sums.pop(mark, None)

    def fact(self, kind: str, **values: Any) -> None:
        """Something else that was decided or done, for instance a dataset and its rules."""
        entry = {"fact": kind, **values}
        self._add(entry)
        self.facts.append(entry)

    def facts_of(self, kind: str) -> Iterator[dict[str, Any]]:
        """The facts of one kind, in the order in which they became true."""
        return (entry for entry in list(self.facts) if entry["fact"] == kind)

    def _add(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        written = os.write(self._descriptor, line)
        if written < len(line):  # a full disk takes the first part; the next try says why
            os.write(self._descriptor, line[written:])

    def close(self) -> None:
        """Lets another process have it; the file stays, for the next run of the same command."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


__all__ = ["SUFFIX", "Journal", "folder"]

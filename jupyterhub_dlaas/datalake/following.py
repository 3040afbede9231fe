"""A folder that is watched: every file that is complete is registered, until somebody says to stop.

The folder is looked through again and again, which also works where the system tells of no changes (network and FUSE
file systems). What is registered together becomes a dataset of its own, a part of the container with the given name,
and a part never changes once it has its rules: so its copy in the buffer may go while other files are still coming.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID, batches
from jupyterhub_dlaas.datalake.failure import Code, failure_of
from jupyterhub_dlaas.datalake.injecting import Injection, Report, Watcher
from jupyterhub_dlaas.datalake.journal import Journal
from jupyterhub_dlaas.datalake.plan import Aim, ascii_path
from jupyterhub_dlaas.datalake.protecting import Promise
from jupyterhub_dlaas.datalake.scan import Found, scan
from jupyterhub_dlaas.datalake.source import Source

_PASSING = frozenset({Code.UNREACHABLE, Code.NO_SPACE})  # tried again: data come in whether Rucio is well or not


@dataclass(frozen=True)
class Following:
    """How a folder is watched. `stop(seconds)` waits so long and says whether to stop, as `threading.Event.wait` does.

    A file is complete when nothing about it has changed for `settled_seconds`, by the clock of this machine; or, with
    `done_suffix`, when there is another file of its name with the suffix, which is not registered. Up to `part_files`
    become one dataset. The folder is looked through every `every_seconds`, more seldom where that takes long.
    """

    stop: Callable[[float], bool]
    settled_seconds: float = 30
    done_suffix: str = ""
    part_files: int = 900
    every_seconds: float = 5
    now: Callable[[], float] = time.time


def follow(
    client: Any,
    journal: Journal,
    named: tuple[str, ...],
    aim: Aim,
    source: Source,
    promise: Promise,
    following: Following,
    watcher: Watcher,
) -> Report:
    """Registers what is complete, over and over, until told to stop; what is complete by then is registered still.

    Raises a Failure for what does not pass by itself. While Rucio cannot be reached, or a quota is used up, it waits
    and goes on later.
    """
    parts = _Parts(client, journal, aim, source, promise, watcher)
    bad: set[bytes] = set()
    told: set[str] = set()
    stopping = False
    while True:
        begun = time.monotonic()
        files = (found for found in complete(named, following, told, watcher) if found.mark not in bad)
        new = (found for found in files if found.mark not in journal.registered)
        try:
            parts.complete()
            for batch in batches(new, following.part_files):
                parts.add(batch)
                bad.update(found.mark for found in batch if found.mark not in journal.registered)
                if not stopping and following.stop(0):
                    break
            parts.trouble = ""
        except Exception as error:
            failure = failure_of(error)
            if failure is None or failure.code not in _PASSING:
                raise
            if failure.sentence != parts.trouble:
                watcher.note(f"{failure.sentence} It is tried again.")
            parts.trouble = failure.sentence
            if stopping:
                raise
        if stopping:
            return parts.report
        stopping = following.stop(max(following.every_seconds, 3 * (time.monotonic() - begun)))


def complete(named: tuple[str, ...], following: Following, told: set[str], watcher: Watcher) -> Iterator[Found]:
    """The files that nobody writes to any more."""

    def skip(path: str, why: str) -> None:
        if path not in told:
            told.add(path)
            watcher.note(f"{ascii_path(path)} is left out: {why}.")

    limit = (following.now() - following.settled_seconds) * 1e9
    suffix = following.done_suffix
    for found in scan(named, skip):
        if not suffix:
            # The second time is the inode's own: a copying program that sets the first one back does not deceive it.
            if max(found.mtime_ns, found.ctime_ns) <= limit:
                yield found
        elif found.path.endswith(suffix):
            path = found.path.removesuffix(suffix)
            try:
                status = os.stat(path, follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Found(
                path,
                found.relative.removesuffix(suffix),
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_ino,
            )


class _Parts:
    """The datasets of one container, one after another."""

    def __init__(
        self, client: Any, journal: Journal, aim: Aim, source: Source, promise: Promise, watcher: Watcher
    ) -> None:
        self._client, self._journal, self._aim = client, journal, aim
        self._source, self._promise, self._watcher = source, promise, watcher
        self._container = DID(aim.scope, aim.dataset)
        self._had: set[int] | None = None
        self.report = Report()
        self.trouble = ""

    def complete(self) -> None:
        """Gives the rules to parts that an earlier run, or an outage, left without."""
        injection = self._injection(self._aim.dataset)
        if injection.datasets.unruled:
            self._sum(injection.finish(self._promise))

    def add(self, batch: list[Found]) -> None:
        """A new part with these files, and its rules."""
        number = sum(1 for _ in self._journal.facts_of("dataset")) + 1
        part = f"{self._aim.dataset}.{number:05d}"
        injection = self._injection(part)
        injection.datasets.take_as_had(DID(self._aim.scope, part), self._before())
        try:
            injection.add(batch)
            injection.finish(self._promise)
        finally:
            self._sum(injection.report)
        report = injection.report
        if report.files:
            self._watcher.note(
                f"{report.files:,} file{'' if report.files == 1 else 's'} registered as {self._aim.scope}:{part}."
            )
        for path, why in report.refused:
            self._watcher.note(f"{path} is left out: {why}.")

    def _before(self) -> set[int]:
        """What is in the container from a run whose journal is lost."""
        from rucio.common.exception import DataIdentifierNotFound

        if self._had is None:
            self._had = set()
            if not self._journal.registered:
                try:
                    for entry in self._client.list_files(self._container.scope, self._container.name):
                        self._had.add(hash((entry["name"], entry["bytes"], entry["adler32"])))
                except DataIdentifierNotFound:
                    pass
        return self._had

    def _injection(self, dataset: str) -> Injection:
        aim = replace(self._aim, dataset=dataset)
        return Injection(self._client, self._journal, aim, self._source, self._watcher, container=self._container)

    def _sum(self, report: Report) -> None:
        mine = self.report
        mine.files += report.files
        mine.bytes += report.bytes
        mine.already += report.already
        mine.datasets += report.datasets
        mine.rules += report.rules
        for path, why in report.refused:
            mine.refuse(path, why, report.code)
        mine.bad += report.bad - len(report.refused)

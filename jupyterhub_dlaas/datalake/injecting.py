"""Files that lie on a storage already, into Rucio: summed, registered, put into datasets, and given their rules.

The common part of `upload` from a scratch area and of `register`. Memory does not grow with the number of files.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jupyterhub_dlaas.datalake.checksum import CHANGED, Sum, adler32_of
from jupyterhub_dlaas.datalake.datasets import Datasets
from jupyterhub_dlaas.datalake.dids import DID, batches
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.journal import Journal
from jupyterhub_dlaas.datalake.plan import Aim, Planned, ascii_path
from jupyterhub_dlaas.datalake.plan import plan as planned_of
from jupyterhub_dlaas.datalake.protecting import Promise, Ruled, left_unprotected, protect
from jupyterhub_dlaas.datalake.registering import BATCH, Entry, Refused, Registrar
from jupyterhub_dlaas.datalake.scan import Found
from jupyterhub_dlaas.datalake.source import Source

_TOLD = 10  # refused files that a report lists


@dataclass(frozen=True)
class Watcher:
    """Who hears of what: files done, bytes read (from several threads), a sentence that is no error."""

    files: Callable[[int], None] = lambda count: None
    bytes: Callable[[int], None] = lambda count: None
    note: Callable[[str], None] = lambda sentence: None


@dataclass
class Report:
    """What a run did. `already`: files that Rucio had from before; `bad`: how many were refused, `refused` the first.

    `rules` were made by this run, `earlier` by runs of the same command; the latter may have ended since.

    `code` is the exit code: 0, 7 where a file changed or differs from what Rucio has, 1 for other files left out.
    """

    files: int = 0
    bytes: int = 0
    already: int = 0
    bad: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    datasets: list[DID] = field(default_factory=list)
    rules: list[Ruled] = field(default_factory=list)
    earlier: list[Ruled] = field(default_factory=list)
    code: Code = Code.OK

    def refuse(self, path: str, why: str, code: Code = Code.BAD_DATA) -> None:
        self.bad += 1
        if len(self.refused) < _TOLD:
            self.refused.append((ascii_path(path), why))
        if self.code is not Code.BAD_DATA:
            self.code = code

    def waited_for(self) -> list[str]:
        """The rules of this run whose being OK means that the data are where they were to go."""
        return [rule.destination or rule.source for rule in self.rules]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "files": self.files,
            "bytes": self.bytes,
            "already": self.already,
            "refused": [{"path": path, "why": why} for path, why in self.refused],
            "refused_files": self.bad,
            "datasets": [str(did) for did in self.datasets],
            "rules": [
                {
                    "did": str(rule.did),
                    "source_rule": rule.source,
                    "destination_rule": rule.destination,
                    "source_released": rule.released,
                }
                for rule in self.rules
            ],
        }


class Injection:
    """One run's registering on one storage; `add` any number of times, then `finish`."""

    batch = BATCH

    def __init__(
        self,
        client: Any,
        journal: Journal,
        aim: Aim,
        source: Source,
        watcher: Watcher,
        *,
        container: DID | None = None,
    ) -> None:
        self._client, self._journal, self._aim, self._source, self._watcher = client, journal, aim, source, watcher
        if aim.container:
            container = DID(aim.scope, aim.container)
        self.datasets = Datasets(client, journal, container)
        self._registrar = Registrar(
            client, source.rse, on_trouble=lambda failure: watcher.note(f"{failure.sentence} It is tried again.")
        )
        self.report = Report()

    def add(self, files: Iterable[Found]) -> None:
        """Registers the files that the journal does not have yet; what cannot be is refused in the report."""
        for batch in batches(
            self._summed(planned_of(self._new(files), self._aim, self._place, self._refuse)), self.batch
        ):
            self._register(batch)

    def finish(self, promise: Promise) -> Report:
        """Makes the rules of what has none yet."""
        unruled = self.datasets.unruled
        self.report.datasets = [opened.dataset for opened in unruled]
        holders = [opened.holder for opened in unruled]
        holders += [did for did in self.datasets.untouched if left_unprotected(self._client, did, promise)]
        self.report.rules += protect(self._client, self._journal, holders, promise, self._watcher.note)
        return self.report

    def _place(self, path: str, did: DID) -> tuple[str, str]:
        return self._source.place(path, did)

    def _refuse(self, path: str, why: str) -> None:
        self.report.refuse(path, why, Code.FAILED)

    def _new(self, files: Iterable[Found]) -> Iterator[Found]:
        for found in files:
            if found.mark in self._journal.registered:
                self.report.already += 1
                self._watcher.files(1)
                self._watcher.bytes(found.size)
            else:
                yield found

    def _summed(self, planned: Iterator[Planned]) -> Iterator[tuple[Planned, str]]:
        known: deque[tuple[Planned, str]] = deque()
        reading: dict[str, Planned] = {}

        def unread() -> Iterator[Found]:
            for each in planned:
                adler32 = self._journal.sums.get(each.found.mark)
                if adler32:
                    self._watcher.bytes(each.found.size)
                    known.append((each, adler32))
                else:
                    reading[each.found.path] = each
                    yield each.found

        for result in adler32_of(unread(), on_bytes=self._watcher.bytes):
            while known:
                yield known.popleft()
            each = reading.pop(result.found.path)
            if result.problem:
                self._unread(result)
            else:
                self._journal.summed(result.found.mark, result.found.size, result.adler32)
                yield each, result.adler32
        yield from known

    def _unread(self, result: Sum) -> None:
        changed = "changed" in result.problem or "removed" in result.problem
        self.report.refuse(result.found.path, result.problem, Code.BAD_DATA if changed else Code.FAILED)
        self._watcher.files(1)

    def _register(self, batch: list[tuple[Planned, str]]) -> None:
        self.datasets.look(planned.dataset for planned, _ in batch)
        had, new = [], list[tuple[Planned, str]]()
        for planned, adler32 in batch:
            found = planned.found
            if self.datasets.had(planned.dataset, planned.name, found.size, adler32):
                had.append(found.mark)
            elif _unchanged(found):
                new.append((planned, adler32))
            else:
                self.report.refuse(found.path, CHANGED)
        opened = self.datasets.of(planned.dataset for planned, _ in new)
        entries = [_entry(planned, adler32, opened[planned.dataset].targets) for planned, adler32 in new]
        refused = self._send(entries) if entries else []
        for entry in refused:
            self.report.refuse(entry.path, entry.why)
        paths = {entry.path for entry in refused}
        done = [entry for entry in entries if entry.path not in paths]
        self.datasets.filled(entry.datasets[0] for entry in done)
        self._journal.has([entry.mark for entry in done] + had)
        self.report.files += len(done)
        self.report.bytes += sum(entry.bytes for entry in done)
        self.report.already += len(had)
        self._watcher.files(len(batch))

    def _send(self, entries: list[Entry]) -> list[Refused]:
        return self._registrar.add(entries)


def _entry(planned: Planned, adler32: str, targets: tuple[DID, ...]) -> Entry:
    found = planned.found
    did = DID(planned.dataset.scope, planned.name)
    return Entry(found.mark, found.path, did, found.size, adler32, planned.pfn, targets)


def _unchanged(found: Found) -> bool:
    try:
        return found.same_as(os.stat(found.path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def nothing_found(paths: Iterable[str]) -> Failure:
    """For a command that has no file to work on."""
    return Failure(f"There are no files in {', '.join(paths)}.", "Check the path.", Code.NOT_FOUND)

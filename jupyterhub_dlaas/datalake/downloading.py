"""How a download runs: one thread finds out what is wanted and where it is, the others get it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID, File, batches, files
from jupyterhub_dlaas.datalake.downloaded import TOLD, Failed, Report
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of
from jupyterhub_dlaas.datalake.fetch import Fetcher, Health, is_whole, part_of, sweep
from jupyterhub_dlaas.datalake.lake import Instance
from jupyterhub_dlaas.datalake.sources import Source, sources_of
from jupyterhub_dlaas.datalake.storage_tokens import read
from jupyterhub_dlaas.datalake.streams import Reader, Stopped

_BATCH = 500  # files for which sources are asked in one request
_LET_GO_SECONDS = 5.0


@dataclass(frozen=True)
class _Job:
    file: File
    target: Path
    sources: Sequence[Source] = ()


@dataclass
class _Worker:
    reader: Reader
    target: Path | None = None
    ended: threading.Event = field(default_factory=threading.Event)


def _placed(rucio: Any, did: DID) -> Iterator[tuple[File, tuple[str, ...]]]:
    """The files of the DID, each with where it goes below the folder."""
    for file in files(rucio, [did]):
        inside = () if file.did == did else _parts(did.name)
        yield file, (*inside, *_parts(file.did.name))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split("/") if part)


class Run:
    """One download. `all` is called once."""

    def __init__(
        self,
        rucio: Any,
        instance: Instance,
        root: Path,
        *,
        rucio_token: Path | None,
        site: str | None,
        overwrite: bool,
        on_progress: Callable[[int], None],
        renewal_seconds: float,
    ) -> None:
        self.report = Report(root)
        self._rucio = rucio
        self._instance = instance
        self._rucio_token = rucio_token
        self._site = site
        self._root = root
        self._overwrite = overwrite
        self._on_progress = on_progress
        self._renewal_seconds = renewal_seconds
        self._health = Health()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._fatal: BaseException | None = None
        self._mounted = instance.mount is not None
        self._taken: set[int] = set()
        self._folders: set[Path] = set()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_BATCH)
        self._workers: list[_Worker] = []

    def all(self, dids: Sequence[DID], workers: int) -> Report:
        """Gets everything; what ends it early ends the workers, too, and nothing that is not whole stays."""
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            self._start(workers)
            for did in dids:
                for batch in batches(_placed(self._rucio, did), _BATCH):
                    self._give(batch)
            self._finish()
        finally:
            self._end()
        return self.report

    # --- the thread that asks Rucio ---------------------------------------------------------------------------------

    def _start(self, workers: int) -> None:
        for number in range(workers):
            worker = _Worker(Reader(self._instance.storage_token, self._rucio_token, self._instance.ca_cert))
            self._workers.append(worker)
            # Daemons: one that hangs in a dead mount does not keep the command from ending.
            threading.Thread(target=self._work, args=(worker,), name=f"download-{number}", daemon=True).start()

    def _give(self, batch: Sequence[tuple[File, tuple[str, ...]]]) -> None:
        missing = []
        for file, parts in batch:
            job = self._job(file, parts)
            if job is None:
                continue
            if job.target.is_symlink() or job.target.exists():
                self._put(job)  # its worker looks whether it is whole
            else:
                missing.append(job)
        found = self._sources([job.file for job in missing])
        for job in missing:
            self._prepare(job.target.parent)
            self._put(_Job(job.file, job.target, found.get(job.file.did, [])))

    def _prepare(self, folder: Path) -> None:
        if folder not in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
            self._folders.add(folder)

    def _finish(self) -> None:
        for _ in self._workers:
            self._put(None)
        for worker in self._workers:
            # Not `Thread.join`: until Python 3.13 a thread whose join is interrupted is taken for dead.
            while not worker.ended.wait(0.2):
                self._raise()
        self._raise()

    def _end(self) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.reader.stop()
        until = time.monotonic() + _LET_GO_SECONDS
        for worker in self._workers:
            if not worker.ended.wait(max(0.0, until - time.monotonic())) and worker.target is not None:
                part_of(worker.target).unlink(missing_ok=True)  # it hangs in a storage that is gone

    def _job(self, file: File, parts: tuple[str, ...]) -> _Job | None:
        if not parts or {".", ".."} & set(parts):
            self._failed(file, Failure(f"{file.did} has a name that is no path of a file.", "", Code.BAD_DATA))
            return None
        # Of half a million places the hashes alone are kept: 32 MB.
        mark = hash(parts)
        if mark in self._taken:
            advice = "Download one of them into another folder (--to)."
            self._failed(file, Failure(f"Another file goes to {'/'.join(parts)}, too.", advice, Code.USAGE))
            return None
        self._taken.add(mark)
        return _Job(file, self._root.joinpath(*parts))

    def _put(self, job: _Job | None) -> None:
        while True:
            self._raise()
            try:
                return self._jobs.put(job, timeout=0.2)
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    def _sources(self, wanted: Sequence[File]) -> dict[DID, list[Source]]:
        """Under the mount where a file is there; else, and for the rest, at the storages."""
        found: dict[DID, list[Source]] = {}
        if self._mounted and self._instance.destination_rse:
            from jupyterhub_dlaas.datalake.local import local_paths

            rse = self._instance.destination_rse
            try:
                for file, path, _ in local_paths(self._rucio, self._instance, wanted):
                    if path is not None:
                        found[file.did] = [Source(rse, path.as_uri(), path)]
            except Failure as failure:
                if failure.code is not Code.UNREACHABLE:
                    raise
                self._mounted = False  # a dead mount keeps nobody from asking the storages themselves
        found.update(sources_of(self._rucio, [file for file in wanted if file.did not in found], self._site))
        return found

    # --- the workers ------------------------------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        fetcher = Fetcher(
            worker.reader, self._health, self._stop, self._progress, self._by_rucio, self._renewal_seconds
        )
        try:
            while (job := self._next()) is not None:
                worker.target = job.target
                self._one(fetcher, job)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  a bug or a full disk: raised in the thread that waits
            self._fatal = self._fatal or error
            self._stop.set()
        finally:
            worker.ended.set()

    def _next(self) -> _Job | None:
        while not self._stop.is_set():
            try:
                return self._jobs.get(timeout=0.2)
            except queue.Empty:
                continue
        return None

    def _one(self, fetcher: Fetcher, job: _Job) -> None:
        try:
            if job.target.is_symlink() or job.target.exists():
                if is_whole(job.target, job.file):
                    self._progress(job.file.bytes)
                    with self._lock:
                        self.report.present += 1
                    return
                if not self._overwrite:
                    advice = "Move it away, or use --overwrite."
                    raise Failure(f"{job.target} is there already, with other content.", advice, Code.USAGE)
            source = self._fetch(fetcher, job)
        except Failure as failure:
            if failure.code is Code.NO_SPACE:
                raise
            self._failed(job.file, failure)
        except OSError as error:
            failure_there = failure_of(error)
            if failure_there is None:
                raise
            self._failed(job.file, failure_there)
        else:
            with self._lock:
                self.report.downloaded += 1
                self.report.bytes += job.file.bytes
                self.report.unverified += not (job.file.adler32 or job.file.md5)
                self.report.through_cache += source.through_cache

    def _fetch(self, fetcher: Fetcher, job: _Job) -> Source:
        sources = list(job.sources) or self._sources([job.file]).get(job.file.did, [])
        try:
            return fetcher.fetch(job.file, sources, job.target)
        except Failure as failure:
            rest = self._others(job.file, sources, failure)
            if failure.code is Code.NO_SPACE or not rest:
                raise
            return fetcher.fetch(job.file, rest, job.target)

    def _others(self, file: File, tried: Sequence[Source], failure: Failure) -> list[Source]:
        """What is wrong with the mount or the cache is not wrong with the storages behind; files move meanwhile."""
        behind = any(source.path is not None or source.through_cache for source in tried)
        if not behind and failure.code is not Code.NOT_FOUND:
            return []
        direct = sources_of(self._rucio, [file], None).get(file.did, [])
        return [source for source in direct if source not in tried]

    def _by_rucio(self, source: Source, part: Path) -> None:
        from jupyterhub_dlaas.datalake.other_protocols import get

        get(self._rucio, source, part, read(self._instance.storage_token(source.rse) or self._rucio_token))

    def _failed(self, file: File, failure: Failure) -> None:
        with self._lock:
            self.report.failed += 1
            if len(self.report.failures) < TOLD:
                self.report.failures.append(Failed(file.did, failure))

    def _progress(self, more: int) -> None:
        with self._lock:
            self._on_progress(more)

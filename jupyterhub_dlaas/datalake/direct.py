"""Files from anywhere else, copied to a storage by Rucio's own upload client and then registered like all others."""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of, words_of
from jupyterhub_dlaas.datalake.injecting import Injection, Report
from jupyterhub_dlaas.datalake.lake import Instance, load
from jupyterhub_dlaas.datalake.plan import Aim
from jupyterhub_dlaas.datalake.protecting import Promise, earlier_of
from jupyterhub_dlaas.datalake.quota import check_room
from jupyterhub_dlaas.datalake.registering import Entry, Refused
from jupyterhub_dlaas.datalake.scan import scan
from jupyterhub_dlaas.datalake.source import Source
from jupyterhub_dlaas.datalake.storage_tokens import own_tokens, read, refused_by
from jupyterhub_dlaas.datalake.token_file import expiry

if TYPE_CHECKING:
    from jupyterhub_dlaas.datalake.upload import Run

_WORKERS = 4
_RENEWAL_SECONDS = 90.0
# By status of HTTP, and by XRootD's kXR_NotAuthorized and kXR_AuthFailed.
_REFUSED = re.compile(r"\b(401|403|3010|3030)\b|auth failed|permission|denied|unauthori[sz]ed|forbidden", re.IGNORECASE)


def upload_directly(run: Run, named: tuple[str, ...], aim: Aim) -> Report:
    """Copies the files to one storage of the destination, several at a time, and registers each when it is there.

    Rucio makes the other copies, where more are asked for. Raises Failure; files that could not be copied are in the
    report.
    """
    from jupyterhub_dlaas.datalake.upload import looked_at

    rse = _storage(run.client, aim)
    source = Source(rse, "/", "")
    with run.journal("upload", named, aim, rse) as journal:
        watcher, unread = looked_at(
            run, journal, named, aim, lambda path, did: ("", ""), [(aim.destination, aim.copies)]
        )
        if run.dry_run:
            return Report()
        copier = _Copier(run.connect, load(run.environ).instance(run.instance), rse)
        injection = _Upload(run.client, journal, aim, source, watcher, copier)
        with copier:
            injection.add(scan(named, lambda path, why: None))
        earlier = earlier_of(journal)
        report = injection.finish(Promise(aim.destination, copies=aim.copies, lifetime=aim.lifetime))
        report.earlier = earlier
        for path, why in unread:
            report.refuse(path, why, Code.FAILED)
        return report


def _storage(client: Any, aim: Aim) -> str:
    """The storage of the destination with most room for the account."""
    for rse in check_room(client, aim.destination, 0, copies=aim.copies):
        if client.get_rse(rse).get("deterministic"):
            return str(rse)
    raise Failure(
        f"No storage of {aim.destination} names files by itself, so nothing can be copied there from here.",
        "Put the files into the scratch area first, or name another storage.",
        Code.USAGE,
    )


class _Upload(Injection):
    """An injection that copies a batch before it registers it."""

    batch = 20  # copied files that a killed run would have to compare again

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments[:-1])
        self._copier: _Copier = arguments[-1]

    def _place(self, path: str, did: DID) -> tuple[str, str]:
        return "", ""

    def _send(self, entries: list[Entry]) -> list[Refused]:
        refused = self._copier.copy(entries)
        paths = {entry.path for entry in refused}
        there = [entry for entry in entries if entry.path not in paths]
        return refused + (super()._send(there) if there else [])


class _Copier:
    """Copies files with one upload client per thread, each storage getting its own token."""

    def __init__(self, connect: Callable[[], Any], instance: Instance, rse: str) -> None:
        self._connect, self._instance, self._rse = connect, instance, rse
        self._jobs: queue.SimpleQueue[tuple[Future[str], Entry]] = queue.SimpleQueue()
        self._local = threading.local()
        self._stack = ExitStack()
        self._over = threading.Event()

    def __enter__(self) -> _Copier:
        from jupyterhub_dlaas.datalake.verified_https import verified_https

        self._stack.enter_context(own_tokens(self._instance))
        self._stack.enter_context(verified_https(self._instance.ca_cert))
        for number in range(_WORKERS):
            # Daemons: Ctrl-C does not wait for the end of a large file.
            threading.Thread(target=self._work, name=f"upload-{number}", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if not any(error):
            self._stack.close()  # else what is being copied still goes by it, until the process ends

    def copy(self, entries: list[Entry]) -> list[Refused]:
        """The files that could not be copied. A Failure where Rucio refuses the account, which concerns them all."""
        jobs = [(Future[str](), entry) for entry in entries]
        for job in jobs:
            self._jobs.put(job)
        results = [(entry, future.result()) for future, entry in jobs]
        return [Refused(entry.path, why) for entry, why in results if why]

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                future, entry = self._jobs.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                future.set_result(self._one(entry))
            except BaseException as error:  # noqa: BLE001  raised in the thread that waits
                future.set_exception(error)

    def _one(self, entry: Entry) -> str:
        """Why the file could not be copied; "" when it is there. A Failure where the storage refuses the account."""
        why = self._try(entry)
        end = time.monotonic() + _RENEWAL_SECONDS
        while _REFUSED.search(why):
            path = self._instance.storage_token(self._rse)
            sent = read(path)
            if path is None or not _over(sent):
                raise refused_by(self._rse, path, sent)
            while read(path) == sent:  # until the hub has renewed it
                if self._over.wait(0.2) or time.monotonic() >= end:
                    raise refused_by(self._rse, path, sent)
            why = self._try(entry)
        return f"it could not be copied to {self._rse} ({why})" if why else ""

    def _try(self, entry: Entry) -> str:
        """The storage's own words where it did not work."""
        from rucio.common.exception import AccessDenied, NoFilesUploaded, RucioException

        uploader = self._uploader()
        traces: list[dict[str, Any]] = []
        try:
            uploader.upload([self._item(entry)], traces_copy_out=traces)
        except NoFilesUploaded:
            # So it also calls a file that is there and registered; registering then compares it.
            reason = str(traces[-1].get("stateReason") or "") if traces else ""
            if reason == "File already exists":
                return ""
            return " ".join((reason or "; ".join(uploader.words[-2:]) or "no reason given").split())[-300:]
        except AccessDenied as error:
            raise Failure(
                f"Rucio does not let you write to {self._rse} ({words_of(error)}).",
                "Name another storage, or ask your VO's data managers.",
                Code.REFUSED,
            ) from error
        except (RucioException, OSError) as error:
            failure = failure_of(error)
            if failure is None:
                raise
            return failure.sentence
        return "" if os.stat(entry.path).st_size == entry.bytes else "it changed meanwhile"

    def _item(self, entry: Entry) -> dict[str, Any]:
        dataset = entry.datasets[0]
        return {
            "path": entry.path,
            "rse": self._rse,
            "did_scope": entry.did.scope,
            "did_name": entry.did.name,
            "dataset_scope": dataset.scope,
            "dataset_name": dataset.name,
            # Else Rucio's client asks for a right that its generic policy gives to administrators only.
            "register_after_upload": True,
        }

    def _uploader(self) -> Any:
        from rucio.client.uploadclient import UploadClient

        uploader = getattr(self._local, "uploader", None)
        if uploader is None:
            client, words = self._connect(), list[str]()
            uploader = self._local.uploader = UploadClient(client, logger=_Words(words), tracing=False)
            uploader.words = words
            # It would ask the Rucio of rucio.cfg, which may be another instance's.
            uploader.rses[self._rse] = client.get_rse(self._rse)
        del uploader.words[:]
        token = uploader.client.auth_token
        uploader.auth_token = token if token.count(".") == 2 else None  # as it is now, not as at the beginning
        return uploader


def _over(token: str | None) -> bool:
    """Whether a token is missing or has expired, so that the hub's next one may be taken."""
    until = expiry(token or "")
    return not token or (until is not None and until <= time.time())


class _Words:
    """A logger that keeps what goes wrong, and prints nothing. Rucio's client calls it as an object, too."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def log(self, level: int, message: object, *arguments: object, **_: object) -> None:
        text = str(message) % arguments if arguments else str(message)
        if level >= logging.WARNING or text.startswith("Exception: "):
            self._words.append(text.removeprefix("Exception: "))

    __call__ = log

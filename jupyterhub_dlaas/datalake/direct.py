"""Files from anywhere else, copied to a storage by Rucio's own upload client and then registered like all others."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

if TYPE_CHECKING:
    from jupyterhub_dlaas.datalake.upload import Run

_WORKERS = 4


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

    batch = 100

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
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="upload")
        self._local = threading.local()

    def __enter__(self) -> _Copier:
        from jupyterhub_dlaas.datalake.storage_tokens import own_tokens

        self._tokens = own_tokens(self._instance)
        self._tokens.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._tokens.__exit__(None, None, None)

    def copy(self, entries: list[Entry]) -> list[Refused]:
        """The files that could not be copied. A Failure where Rucio refuses the account, which concerns them all."""
        futures = [self._pool.submit(self._one, entry) for entry in entries]
        results = [(entry, future.result()) for entry, future in zip(entries, futures, strict=True)]
        return [Refused(entry.path, why) for entry, why in results if why]

    def _one(self, entry: Entry) -> str:
        """Why the file could not be copied; "" when it is there."""
        from rucio.common.exception import AccessDenied, NoFilesUploaded, RucioException

        uploader = self._uploader()
        traces: list[dict[str, Any]] = []
        try:
            uploader.upload([self._item(entry)], traces_copy_out=traces)
        except NoFilesUploaded:
            # So it also calls a file that is there and registered; registering then compares it.
            reason = str(traces[-1].get("stateReason") or "") if traces else ""
            return "" if reason == "File already exists" else self._why(reason, uploader.words)
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
        status = os.stat(entry.path)
        return "" if status.st_size == entry.bytes else "it changed while it was copied"

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

    def _why(self, reason: str, words: list[str]) -> str:
        said = " ".join((reason or "; ".join(words[-2:])).split())[:200] or "no reason given"
        return f"it could not be copied to {self._rse} ({said})"

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


class _Words:
    """A logger that keeps what goes wrong, and prints nothing. Rucio's client calls it as an object, too."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def log(self, level: int, message: object, *arguments: object, **_: object) -> None:
        text = str(message) % arguments if arguments else str(message)
        if level >= logging.WARNING or text.startswith("Exception: "):
            self._words.append(text.removeprefix("Exception: "))

    __call__ = log

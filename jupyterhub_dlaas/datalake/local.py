"""Which files can be read here, under the mounted storage, and where."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.advice import ADVICE
from jupyterhub_dlaas.datalake.dids import DID, File, batches
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Instance
from jupyterhub_dlaas.datalake.looking import Looker, looking
from jupyterhub_dlaas.datalake.probe import problem_of
from jupyterhub_dlaas.datalake.rse_paths import PathOf, below_mount, computed, leads_out, path_of, read_prefix

_AT_ONCE = 1000  # files per look and per question to Rucio
_ALIVE_SECONDS = 10

Answer = tuple[File, Path | None, str]


def local_paths(
    client: Any,
    instance: Instance,
    files: Iterable[File],
    *,
    patience_seconds: float = 0,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Answer]:
    """Each file with its path here, or with None and why not, in words, in the order given; any number in flat memory.

    A path is given for a file that is there with the size that Rucio has registered. On a deterministic storage Rucio
    is asked about the missing ones alone. A mount may show new files late: what Rucio has there is looked for again for
    `patience_seconds` in all. A Failure: nothing is mounted (USAGE), the mount is dead (UNREACHABLE).
    """
    mount, rse = mounted(instance)
    if problem := problem_of(str(mount), limit_seconds=_ALIVE_SECONDS):
        raise Failure(f"{mount}: {problem}", ADVICE["mount"], Code.UNREACHABLE)
    storage = _Storage(client, rse, mount, instance.path_begins_at)
    with looking() as looker:
        for batch in batches(files, _AT_ONCE):
            answers = list(storage.answers(batch, looker))
            delay = 1.0
            while patience_seconds > 0 and any(not can_be_brought(why) for _, _, why in answers):
                pause(delay)
                patience_seconds -= delay
                delay *= 1.5
                answers = list(storage.answers(batch, looker))
            yield from answers


def mounted(instance: Instance) -> tuple[Path, str]:
    """The instance's mount and the storage (RSE) that it shows; a Failure (USAGE) where there is none."""
    if instance.mount is None or instance.destination_rse is None:
        raise Failure(
            f"No storage of {instance.display_name} is mounted in this server.",
            "Fetch the data with: datalake download DID",
            Code.USAGE,
        )
    return instance.mount, instance.destination_rse


_LOST = "Rucio has it on"


def can_be_brought(why: str) -> bool:
    """Whether Rucio can bring a file here that `local_paths` did not find; not what it believes to be here."""
    return not why.startswith(_LOST)


class _Storage:
    """The mounted storage: guesses paths, looks whether they are there, and asks Rucio about the others."""

    def __init__(self, client: Any, rse: str, mount: Path, begins_at: int) -> None:
        self._client, self._rse, self._begins_at = client, rse, begins_at
        self._mount = str(mount)
        settings = client.get_rse(rse)
        prefix = read_prefix(settings)
        self._guess: PathOf | None = None if prefix is None else computed(settings, prefix)

    def answers(self, batch: list[File], looker: Looker) -> Iterator[Answer]:
        guessed: Mapping[DID, str] = {}
        if self._guess is not None:
            guessed = {file.did: self._here(self._guess(file.did)) for file in batch}
        sizes = _looked(looker, guessed)
        missing = [file for file in batch if sizes.get(file.did) != file.bytes]
        known = self._asked(missing) if missing else {}
        other = {did: path for did, (path, _) in known.items() if path and path != guessed.get(did)}
        sizes_there = _looked(looker, other)
        if any(sizes_there[did] >= 0 for did in other):
            self._guess = None  # the server computes in another way: it is asked from now on
        for file in batch:
            did = file.did
            if sizes.get(did) == file.bytes:
                yield self._answer(file, guessed[did])
            elif sizes_there.get(did) == file.bytes:
                yield self._answer(file, other[did])
            else:
                path, state = known.get(did, ("", ""))
                size = sizes_there[did] if did in sizes_there else sizes.get(did, -errno.ENOENT)
                yield file, None, self._why(file, path, state, size)

    def _here(self, path: str) -> str:
        return os.path.join(self._mount, below_mount(path, self._begins_at))

    def _asked(self, files: list[File]) -> dict[DID, tuple[str, str]]:
        """By DID: the path here of the copy that Rucio knows in this storage ("": none), and the copy's state."""
        replicas = self._client.list_replicas(
            [file.did.as_dict() for file in files], rse_expression=self._rse, all_states=True, resolve_archives=False
        )
        known = {}
        for entry in replicas:
            pfns = entry.get("rses", {}).get(self._rse) or [""]
            state = entry.get("states", {}).get(self._rse, "")
            known[DID(entry["scope"], entry["name"])] = (pfns[0] and self._here(path_of(pfns[0])), state)
        return known

    def _answer(self, file: File, path: str) -> Answer:
        if leads_out(path):
            return file, None, "its name leads out of the mount"
        return file, Path(path), ""

    def _why(self, file: File, path: str, state: str, size: int) -> str:
        if not state:
            return f"not on {self._rse}"
        if state == "COPYING":
            return f"on its way to {self._rse}"
        if state != "AVAILABLE":
            return f"its copy on {self._rse} is {state.lower().replace('_', ' ')}"
        if size >= 0:
            return f"has {size} bytes at {path} instead of {file.bytes}"
        if size == -errno.ENOENT:
            return f"{_LOST} {self._rse}, but it is not at {path}"
        return f"{path}: {os.strerror(-size)}"


def _looked(looker: Looker, paths: Mapping[DID, str]) -> dict[DID, int]:
    return dict(zip(paths, looker.sizes(list(paths.values())), strict=True)) if paths else {}

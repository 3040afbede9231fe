"""The storage (RSE) on which files lie already, and how a local path becomes the physical file name (PFN) there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Instance, Lake, Scratch
from jupyterhub_dlaas.datalake.rse_paths import computed
from jupyterhub_dlaas.datalake.scan import inside


@dataclass(frozen=True)
class Source:
    """`local` is here what `remote`, the beginning of a PFN, is at the storage `rse`; neither ends in a slash.

    `deterministic`: Rucio computes where on this storage a file has to be, from its name; `expected` is the local path
    of that, None where only the server can say.
    """

    rse: str
    local: str
    remote: str
    deterministic: bool = False
    expected: Callable[[DID], str] | None = None

    def place(self, path: str, did: DID) -> tuple[str, str]:
        """The PFN to register a file under, "" where the storage has its own, and why it cannot be, in words."""
        if self.expected is None:
            return self.pfn(path), ""
        there = self.expected(did)
        return "", "" if there == path else f"{self.rse} has its own places, where {did} has to be {there}"

    def pfn(self, path: str) -> str:
        """The PFN of a local path; a Failure (USAGE) for one that is not on this storage."""
        if not inside(path, self.local):
            raise Failure(
                f"{path} is not below {self.local}, which is {self.rse}.",
                "Say which folder here shows the storage: --mounted-at FOLDER",
                Code.USAGE,
            )
        return self.remote + path[len(self.local.rstrip("/")) :]


def scratch_of(lake: Lake, paths: Sequence[str]) -> Scratch | None:
    """The scratch that holds all of these real paths; None where none of them is on one.

    A Failure (USAGE) for paths on different ones, or on a scratch that Rucio does not know.
    """
    found = {path: _holding(lake.scratch, path) for path in paths}
    held = {scratch.name for scratch in found.values() if scratch}
    if not held:
        return None
    if len(held) > 1 or not all(found.values()):
        apart = next(path for path, scratch in found.items() if scratch is not found[paths[0]])
        raise Failure(
            f"{paths[0]} and {apart} are not on the same storage.", "Upload them by two commands.", Code.USAGE
        )
    return found[paths[0]]


def _holding(scratches: Iterable[Scratch], path: str) -> Scratch | None:
    return next((scratch for scratch in scratches if inside(path, os.path.realpath(scratch.path))), None)


def of_scratch(client: Any, scratch: Scratch) -> Source:
    """The scratch as the storage that Rucio knows it as."""
    if scratch.rse is None:
        raise Failure(
            f"Rucio does not know the scratch area {scratch.path}.",
            "Ask the hub's administrators to name its storage (RSE) in the catalogue.",
            Code.USAGE,
        )
    settings = _settings(client, scratch.rse)
    return _source(settings, _protocol(settings), str(scratch.path), scratch.rse_path)


def of_rse(client: Any, lake: Lake, instance: Instance, rse: str, mounted_at: str | None = None) -> Source:
    """The storage of this name as this server sees it: a scratch, the mounted storage, or where `mounted_at` says.

    `mounted_at` is a local folder, with the path below the storage's prefix that it shows as in `FOLDER=PATH`. Without
    it a storage with the protocol `file` is where its prefix says.
    """
    scratch = next((scratch for scratch in lake.scratch if scratch.rse == rse), None)
    if scratch and not mounted_at:
        return of_scratch(client, scratch)
    settings = _settings(client, rse)
    protocol = _protocol(settings)
    if mounted_at:
        folder, _, path = mounted_at.partition("=")
        if not os.path.isdir(folder):
            raise Failure(f"{folder} is not a folder.", "Check --mounted-at.", Code.NOT_FOUND)
        return _source(settings, protocol, folder, path)
    if rse == instance.destination_rse and instance.mount:
        # The mount shows the path of a PFN without its first components.
        parts = [part for part in protocol["prefix"].split("/") if part][instance.path_begins_at :]
        return _source(settings, protocol, os.path.join(instance.mount, *parts), "")
    if protocol["scheme"] == "file" and os.path.isdir(protocol["prefix"]):
        return _source(settings, protocol, protocol["prefix"], "")
    raise Failure(
        f"This server does not know where the files of {rse} are here.",
        "Say which folder here shows the storage: --mounted-at FOLDER",
        Code.USAGE,
    )


def _source(settings: Mapping[str, Any], protocol: Mapping[str, Any], folder: str, below: str) -> Source:
    """`folder` shows what is `below` the storage's prefix."""
    local, below = os.path.realpath(folder), below.strip("/")
    expected = None
    path_of = computed(settings, "")
    if path_of is not None:
        inner = f"/{below}/" if below else "/"

        def expected(did: DID) -> str:
            path = path_of(did)
            return os.path.join(local, path[len(inner) :]) if path.startswith(inner) else f"outside of {local}"

    remote = f"{_beginning(protocol)}/{below}".rstrip("/")
    return Source(settings["rse"], local, remote, bool(settings.get("deterministic")), expected)


def _settings(client: Any, rse: str) -> Mapping[str, Any]:
    from rucio.common.exception import RSENotFound

    try:
        return dict(client.get_rse(rse))
    except RSENotFound as error:
        raise Failure(f"Rucio knows no storage {rse}.", "Check the name of the storage.", Code.NOT_FOUND) from error


def _protocol(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The protocol that transfers would write by: Rucio takes PFNs apart with it."""

    def priority(protocol: Mapping[str, Any]) -> int:
        return int(((protocol.get("domains") or {}).get("wan") or {}).get("write") or 0)

    usable = sorted((protocol for protocol in settings["protocols"] if priority(protocol)), key=priority)
    if not usable:
        raise Failure(
            f"The storage {settings['rse']} has no protocol that can be written by from elsewhere.",
            "Tell your VO's data managers: Rucio cannot name files there.",
            Code.USAGE,
        )
    first: Mapping[str, Any] = usable[0]
    return first


def _beginning(protocol: Mapping[str, Any]) -> str:
    """As Rucio builds its PFNs: `scheme://host:port` and the prefix, slashes as they are there."""
    prefix = "/" + protocol["prefix"] if not protocol["prefix"].startswith("/") else protocol["prefix"]
    return f"{protocol['scheme']}://{protocol['hostname']}:{protocol['port']}{prefix}".rstrip("/")

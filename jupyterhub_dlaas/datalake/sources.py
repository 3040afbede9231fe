"""Where the bytes of files can be had: PFNs of their replicas, the site's cache first, in the order Rucio advises."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID, File


@dataclass(frozen=True)
class Source:
    """One place a file can be read: a URL (PFN) of the storage `rse`, or a path under the mount of this server."""

    rse: str
    pfn: str
    path: Path | None = None

    @property
    def scheme(self) -> str:
        """`root`, `https`, `file` ..."""
        return "file" if self.path else self.pfn.partition(":")[0].lower()

    @property
    def way(self) -> str:
        """How it is reached, for telling what answers: one storage may by one way and not by another."""
        return f"{self.rse} {'mount' if self.path else self.pfn.partition('://')[2].partition('/')[0]}"

    @property
    def through_cache(self) -> bool:
        """Whether it is a cache's, which has the storage's own URL in its path: `root://cache//root://storage/...`."""
        return "://" in self.pfn.partition("://")[2]


def sources_of(client: Any, files: Iterable[File], site: str | None) -> dict[DID, list[Source]]:
    """The replicas of the files, nearest first; one request. Tapes are left out, as Rucio's own download does.

    With a `site` Rucio gives PFNs through the cache of that site (its `root-proxy-internal`).
    """
    wanted = [file.did.as_dict() for file in files]
    found: dict[DID, list[Source]] = {}
    if not wanted:
        return found
    replicas = client.list_replicas(
        wanted,
        ignore_availability=False,
        client_location=location(site),
        resolve_archives=False,
    )
    for replica in replicas:
        pfns: Mapping[str, Mapping[str, Any]] = replica.get("pfns") or {}
        usable = [(pfn, about) for pfn, about in pfns.items() if str(about.get("type")).upper() != "TAPE"]
        usable.sort(key=lambda item: item[1].get("priority") or 0)
        did = DID(replica["scope"], replica["name"])
        found[did] = [Source(str(about["rse"]), pfn) for pfn, about in usable]
    return found


def location(site: str | None) -> dict[str, Any]:
    """Where this client is, as Rucio's own clients say it (but for what the server finds out by itself)."""
    # The server takes the address that it sees, whatever a client says.
    return {"site": site or "ROAMING", "fqdn": socket.gethostname()}

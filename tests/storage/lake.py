"""The lab as tests and people use it: Rucio's administrator, and scientists with the files of a server of theirs."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support.lake_user import LakeUser, _content
from support.rucio_lake import RucioLake

from jupyterhub_dlaas.datalake.dids import DID
from storage.layout import SCRATCH, SITE_A, SITE_B, STORAGE_AUDIENCE, rse
from storage.plane import Lab
from storage.tokens import Mint

CATALOGUE = """
vo: escape
rucio_instances:
  lake:
    display_name: Storage Lab
    rucio_host: {url}
    audience: rucio
    mode: replica
    destination_rse: {mounted}
    storage: site-a
    path_begins_at: 1
    replication_rule_lifetime_days: 7
    wildcard_enabled: true
    rses: {{"SITE-T*": {{audience: {audience}}}}}
storages:
  site-a: {{type: fuse, host_path: "{mount}", mount_path: "{mount}"}}
  scratch:
    {{type: scratch, host_path: "{area}", mount_path: "{own}", per_user: true, rse: {scratch}, rse_path: "{below}"}}
environments:
  - {{name: root, image: "registry.example.org/escape/root:1", rucio: [lake], storages: [site-a, scratch]{cache}}}
"""


class Tokens:
    """What a scientist's server gets from the hub: for each audience the token that its service wants."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint

    def token(self, user: str, audience: str, *, seconds: float = 3600) -> str:
        make = self._mint.storage if audience == STORAGE_AUDIENCE else self._mint.rucio
        return make(user, seconds)


class StorageLake(RucioLake):
    """`RucioLake` over the lab's servers. `cache_site`: the site whose XCache environments read through, if any."""

    mounted, remote, scratch = SITE_A, SITE_B, SCRATCH

    def __init__(self, lab: Lab, cache_site: str | None = None) -> None:
        super().__init__(lab.layout.folder, lab.lake, Tokens(lab.mint))  # type: ignore[arg-type]
        self.lab, self.layout, self.cache_site = lab, lab.layout, cache_site

    def catalogue(self, scratch: Path, below: str) -> str:
        return CATALOGUE.format(
            url=self.url,
            mounted=self.mounted,
            mount=self.mount,
            audience=STORAGE_AUDIENCE,
            area=self.layout.scratch,
            own=scratch,
            scratch=self.scratch,
            below=below,
            cache=f", xcache_site: {self.cache_site}" if self.cache_site else "",
        )

    def logs(self) -> str:
        """The ends of the logs of all parts, in the order in which they wrote last."""
        logs = sorted(self.layout.logs.iterdir(), key=lambda path: path.stat().st_mtime)
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in logs)

    def path(self, rse: str, scope: str, name: str) -> Path:
        """Where a replica's server keeps it on this machine."""
        return self.local(rse, self.pfn(rse, scope, name))

    def local(self, rse_name: str, pfn: str) -> Path:
        """Where the server of an RSE keeps the file of this address."""
        return self.layout.data(rse(rse_name).server) / urlsplit(pfn).path.strip("/")

    def pfn(self, rse: str, scope: str, name: str) -> str:
        """The address that Rucio gives for a replica."""
        (replica,) = self.root.list_replicas([{"scope": scope, "name": name}], rse_expression=rse)
        return str(replica["rses"][rse][0])


class StorageUser(LakeUser):
    """A scientist of the lab."""

    lake: StorageLake

    def __init__(self, lake: StorageLake, name: str, folder: Path) -> None:
        super().__init__(lake, name, folder)
        self.environ["X509_CERT_DIR"] = str(lake.layout.certificates)

    def make_dataset(
        self, n_files: int = 3, bytes: int = 1000, rse: str | None = None, scope: str | None = None
    ) -> DID:
        """As `LakeUser` does, the files put into the folder behind the server."""
        lake, scope, rse = self.lake, scope or self.scope, rse or self.lake.remote
        dataset = DID(scope, self.name_of("dataset"))
        contents = {f"{dataset.name}.{number:05d}": _content(dataset.name, number, bytes) for number in range(n_files)}
        lake.root.add_replicas(rse, [_file(scope, name, content) for name, content in contents.items()])
        dids: list[Any] = [{"scope": scope, "name": name} for name in contents]
        for replica in lake.root.list_replicas(dids, rse_expression=rse):
            put(lake, lake.local(rse, replica["rses"][rse][0]), contents[replica["name"]])
        lake.root.add_dataset(scope, dataset.name)
        lake.root.attach_dids(scope, dataset.name, dids)
        lake.root.add_replication_rule([dataset.as_dict()], 1, rse)
        return dataset


def put(lake: StorageLake, path: Path, content: bytes) -> None:
    """A file of a server's own: its account can change and delete it."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for made in (*missing, path):
        lake.lab.give(made)


def _file(scope: str, name: str, content: bytes) -> dict[str, Any]:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"scope": scope, "name": name, "bytes": len(content), "adler32": f"{zlib.adler32(content):08x}", "md5": md5}

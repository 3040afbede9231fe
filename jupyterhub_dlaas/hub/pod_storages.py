"""A catalogue's storages as volumes and mounts of a pod, in Kubernetes' own form."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyterhub_dlaas.catalogue.fields import is_within
from jupyterhub_dlaas.catalogue.models import ScratchStorage, Storage, VolumeStorage

PREFIX = "dlaas-storage-"


@dataclass(frozen=True)
class StorageParts:
    """`names` tells the catalogue's name of each volume, `required` are the volumes no server starts without."""

    volumes: tuple[dict[str, Any], ...] = ()
    mounts: tuple[dict[str, Any], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    @property
    def probed(self) -> tuple[dict[str, Any], ...]:
        """The same mounts for the agent, which only looks whether they are alive."""
        return tuple({**mount, "readOnly": True} for mount in self.mounts)


def storage_parts(storages: Sequence[tuple[str, Storage]], folder: str) -> StorageParts:
    """Names and storages of an environment; `folder` is the user's own one in a scratch space."""
    volumes, mounts, names, required = [], [], {}, set()
    needed = {storage.mount_path for _, storage in storages if storage.required}
    seen: set[str] = set()
    for index, (name, storage) in enumerate(storages):
        # Two FUSE mounts below one folder of the node share a volume; the catalogue allows nothing else at one place.
        if storage.mount_path in seen:
            continue
        seen.add(storage.mount_path)
        volume = f"{PREFIX}{index}"
        names[volume] = name
        if storage.mount_path in needed:
            required.add(volume)
        volumes.append({"name": volume, **_source(storage, required=volume in required)})
        mounts.append({"name": volume, "mountPath": storage.mount_path, "readOnly": storage.read_only})
        if isinstance(storage, ScratchStorage) and storage.per_user:
            # kubelet makes the folder, with the mode of the one above it. Propagation means nothing there.
            mounts[-1]["subPath"] = folder
        elif not isinstance(storage, VolumeStorage):
            # Of the parent of the FUSE mount: a client that is restarted mounts anew, and the server sees that.
            mounts[-1]["mountPropagation"] = "HostToContainer"
    return StorageParts(tuple(volumes), tuple(mounts), names, frozenset(required))


def _source(storage: Storage, *, required: bool) -> dict[str, Any]:
    if not isinstance(storage, VolumeStorage):
        # Otherwise a node without it would keep the server from starting for ever.
        kind = "Directory" if required else "DirectoryOrCreate"
        return {"hostPath": {"path": storage.host_path, "type": kind}}
    if storage.nfs:
        return {"nfs": {"server": storage.nfs.server, "path": storage.nfs.path, "readOnly": storage.read_only}}
    if storage.csi:
        csi: dict[str, Any] = {"driver": storage.csi.driver, "readOnly": storage.read_only}
        if storage.csi.attributes:
            csi["volumeAttributes"] = dict(storage.csi.attributes)
        return {"csi": csi}
    return {"persistentVolumeClaim": {"claimName": storage.claim, "readOnly": storage.read_only}}


def collisions(parts: StorageParts, container: Mapping[str, Any]) -> list[str]:
    """Sentences about storages that would hide what the notebook's container has mounted, or its working folder."""
    taken = [
        (posixpath.normpath(m["mountPath"]), f"the volume {m['name']}") for m in container.get("volumeMounts") or ()
    ]
    if container.get("workingDir"):
        taken.append((posixpath.normpath(container["workingDir"]), "the working folder"))
    return list(_hidden(((parts.names[mount["name"]], mount["mountPath"]) for mount in parts.mounts), taken))


def _hidden(mine: Iterable[tuple[str, str]], taken: Sequence[tuple[str, str]]) -> Iterable[str]:
    for name, path in mine:
        for other, what in taken:
            if is_within(other, path):
                yield (
                    f"The storage {name} is mounted at {path}, where it would hide {what} ({other}). "
                    "Change its mount_path in the catalogue, or c.KubeSpawner.volume_mounts."
                )

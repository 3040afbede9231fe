"""Storages that lie below one folder of the node."""

from jupyterhub_dlaas.catalogue.models import FUSEStorage
from jupyterhub_dlaas.hub.pod_storages import storage_parts


def fuse(name: str, *, required: bool) -> tuple[str, FUSEStorage]:
    at = {"host_path": "/var/lake", "mount_path": "/lake", "path": f"/lake/{name}"}
    return name, FUSEStorage(type="fuse", required=required, **at)


def test_one_volume_for_both_is_required_if_one_of_them_is() -> None:
    parts = storage_parts([fuse("near", required=False), fuse("far", required=True)], "alice")
    assert [volume["hostPath"]["type"] for volume in parts.volumes] == ["Directory"]
    assert parts.required == {"dlaas-storage-0"}
    assert len(parts.mounts) == 1

"""Files at the origins: Rucio's own client, copies from server to server, deletion."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from storage.commands import adler32_at, rucio, run
from storage.lake import StorageLake, StorageUser
from storage.layout import SCRATCH, SITE_A, SITE_B, rse
from storage.plane import Lab


@pytest.fixture
def root_environment(lab: Lab, tmp_path: Path) -> dict[str, str]:
    """Rucio's administrator in a terminal."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "RUCIO_CONFIG": str(lab.lake.cfg),
    }


def _at(lake: StorageLake, rse_name: str, scope: str, name: str) -> str:
    """adler32 of a replica, as its server computes it."""
    address = lake.layout.address(rse(rse_name).server)
    path = lake.path(rse_name, scope, name).relative_to(lake.layout.data(rse(rse_name).server))
    return adler32_at(address, f"//{path}")


def _end(lake: StorageLake, rule: str) -> None:
    """Ends a rule now; `delete_replication_rule` would leave it for an hour."""
    lake.root.update_replication_rule(rule, {"lifetime": 0})


def test_rucios_own_client_uploads_and_downloads(
    lake: StorageLake, alice: StorageUser, root_environment: dict[str, str], tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    name = alice.name_of("plain")
    (tmp_path / name).write_bytes(content)
    done = rucio(root_environment, "upload", "--rse", SITE_A, "--scope", "test", tmp_path / name)
    assert "Successfully uploaded" in done.out + done.err
    assert _at(lake, SITE_A, "test", name) == f"{zlib.adler32(content):08x}"
    rucio(alice.environ, "download", "--dir", tmp_path / "back", f"test:{name}")
    assert (tmp_path / "back" / "test" / name).read_bytes() == content


def test_a_rule_is_ok_by_a_copy_from_server_to_server(lake: StorageLake, alice: StorageUser) -> None:
    dataset = alice.make_dataset(3, 200_000, SITE_B)
    (rule,) = lake.root.add_replication_rule([dataset.as_dict()], 1, SITE_A)
    assert lake.root.get_replication_rule(rule)["state"] == "REPLICATING"
    assert lake.settled(rule)["state"] == "OK"
    for file in lake.root.list_files(dataset.scope, dataset.name):
        a, b = (_at(lake, site, file["scope"], file["name"]) for site in (SITE_A, SITE_B))
        assert a == b == file["adler32"]


def test_a_corrupt_source_is_stuck_and_leaves_nothing_at_the_destination(lake: StorageLake, alice: StorageUser) -> None:
    dataset = alice.make_dataset(1, 1000, SITE_B)
    (file,) = lake.root.list_files(dataset.scope, dataset.name)
    source = lake.path(SITE_B, file["scope"], file["name"])
    source.write_bytes(b"XX" + source.read_bytes()[2:])
    (rule,) = lake.root.add_replication_rule([dataset.as_dict()], 1, SITE_A)
    try:
        assert lake.settled(rule)["state"] == "STUCK"
        assert file["name"] not in run("xrdfs", lake.layout.address("site-a"), "ls", "-R", "/").out
    finally:
        _end(lake, rule)


def test_a_file_written_under_scratch_is_a_source_for_copies(lake: StorageLake, alice: StorageUser) -> None:
    (path,) = alice.write_scratch({"run 1/image.fits": b"pixels" * 1000})
    name, content = alice.name_of("image"), path.read_bytes()
    pfn = lake.layout.pfn(SCRATCH, str(path.relative_to(lake.scratch_folder())))
    file = {"scope": alice.scope, "name": name, "bytes": len(content), "adler32": f"{zlib.adler32(content):08x}"}
    client = alice.client()
    client.add_replicas(SCRATCH, [{**file, "pfn": pfn}])
    (rule,) = client.add_replication_rule([{"scope": alice.scope, "name": name}], 1, SITE_B)
    assert lake.settled(rule)["state"] == "OK"
    assert lake.path(SITE_B, alice.scope, name).read_bytes() == content


def test_what_no_rule_protects_any_more_is_deleted_at_its_server(lake: StorageLake, alice: StorageUser) -> None:
    (path,) = alice.write_scratch({"short.dat": b"x" * 100})
    name, client = alice.name_of("short"), alice.client()
    pfn = lake.layout.pfn(SCRATCH, str(path.relative_to(lake.scratch_folder())))
    client.add_replicas(
        SCRATCH, [{"scope": alice.scope, "name": name, "bytes": 100, "adler32": "00000000", "pfn": pfn}]
    )
    (rule,) = client.add_replication_rule([{"scope": alice.scope, "name": name}], 1, SCRATCH)
    assert path.exists()
    _end(lake, rule)
    lake.until(lambda: not path.exists(), what="the file under scratch goes")


def test_a_copy_that_cannot_go_from_server_to_server_does_not_happen(lake: StorageLake, alice: StorageUser) -> None:
    """The destination fetches: with the source gone nothing may take its place."""
    dataset = alice.make_dataset(1, 1000, SITE_B)
    (file,) = lake.root.list_files(dataset.scope, dataset.name)
    lake.path(SITE_B, file["scope"], file["name"]).unlink()
    (rule,) = lake.root.add_replication_rule([dataset.as_dict()], 1, SITE_A)
    try:
        assert lake.settled(rule)["state"] == "STUCK"
    finally:
        _end(lake, rule)

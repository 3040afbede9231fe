"""A scientist's day on real storage: large results from scratch into the lake, and data of the lake on the mount."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from storage.commands import checksums_at
from storage.lake import StorageLake, StorageUser
from storage.layout import SCRATCH, SITE_A, SITE_B, TOKEN_HTTPS_USERDISK, TOKEN_USERDISK, rse

FILES = 1000


def _checksums(lake: StorageLake, rse_name: str, files: Iterable[dict[str, Any]]) -> dict[str, str]:
    """adler32 by name of a dataset's files, as the server of an RSE computes them now."""
    dids = [{"scope": file["scope"], "name": file["name"]} for file in files]
    layout, server = lake.layout, rse(rse_name).server
    paths = {}
    for replica in lake.root.list_replicas(dids, rse_expression=rse_name):
        kept = lake.local(rse_name, replica["rses"][rse_name][0]).relative_to(layout.data(server))
        paths[f"//{kept}"] = replica["name"]
    return {paths[path]: value for path, value in checksums_at(layout.address(server), paths).items()}


def test_a_thousand_files_go_from_scratch_into_the_lake(lake: StorageLake, alice: StorageUser) -> None:
    folder = alice.name_of("run")
    alice.write_scratch({f"{folder}/night{n % 10}/{n:04d}.fits": os.urandom(2000) for n in range(FILES)})
    done = alice.datalake("upload", alice.scratch / folder, "--qos", "SAFE", timeout=300)
    assert done.code == 0, done.err
    before = {rule["rse_expression"]: rule for rule in lake.root.list_did_rules(alice.scope, folder)}
    assert before["QOS=SAFE"]["state"] == "REPLICATING"

    files = list(lake.root.list_files(alice.scope, folder))
    at_scratch = _checksums(lake, SCRATCH, files)
    assert len(at_scratch) == FILES and at_scratch == {file["name"]: file["adler32"] for file in files}
    assert lake.settled(before["QOS=SAFE"]["id"], seconds=600)["state"] == "OK"
    assert _checksums(lake, SITE_B, files) == at_scratch

    # Its rule went with the end of the other one, and then its files, one by one.
    lake.gone(before[SCRATCH]["id"])
    lake.until(
        lambda: not any(path.is_file() for path in (alice.scratch / folder).rglob("*")),
        seconds=300,
        what="the files under scratch go",
    )


def test_path_is_where_the_mount_shows_the_file(lake: StorageLake, alice: StorageUser) -> None:
    dataset = alice.make_dataset(2, 5000, SITE_B)
    done = alice.datalake("path", dataset)
    assert done.code == 8 and done.out == ""
    done = alice.datalake("path", dataset, "--wait", timeout=180)
    assert done.code == 0, done.err
    paths = [Path(line) for line in done.out.splitlines()]
    assert len(paths) == 2 and all(path.is_relative_to(lake.mount) for path in paths)
    for path in paths:
        assert path.read_bytes() == lake.path(SITE_B, dataset.scope, path.name).read_bytes()


def test_a_path_is_not_promised_while_the_mount_is_dead(lake: StorageLake, alice: StorageUser) -> None:
    dataset = alice.make_dataset(1, 5000, SITE_A)
    lake.lab.daemons["site-a"].stop()
    try:
        done = alice.datalake("path", dataset)
        assert done.code in (6, 8) and done.out == ""
    finally:
        lake.lab.daemons["site-a"].start()

    def path() -> bool:
        return alice.datalake("path", dataset).code == 0

    lake.until(path, seconds=30, what="the path is there again")


def test_a_class_of_storage_is_changed_by_real_copies(lake: StorageLake, alice: StorageUser) -> None:
    folder = alice.name_of("run")
    alice.write_scratch({f"{folder}/{n}.fits": os.urandom(3000) for n in range(3)})
    done = alice.datalake("upload", alice.scratch / folder, "--qos", "FAST", "--wait", timeout=240)
    assert done.code == 0, done.err
    done = alice.datalake("rules", f"{alice.scope}:{folder}", "--qos", "SAFE", "--wait", timeout=240)
    assert done.code == 0, done.err
    files = list(lake.root.list_files(alice.scope, folder))
    assert _checksums(lake, SITE_B, files) == {file["name"]: file["adler32"] for file in files}
    lake.until(
        lambda: not list(lake.root.list_replicas([{"scope": alice.scope, "name": folder}], rse_expression=SITE_A)),
        seconds=120,
        what="the fast copies go",
    )


def test_the_cache_of_the_site_serves_a_second_download(cached_alice: StorageUser) -> None:
    dataset = cached_alice.make_dataset(2, 50_000, SITE_B)
    contents = {}
    for file in cached_alice.lake.root.list_files(dataset.scope, dataset.name):
        path = cached_alice.lake.path(SITE_B, file["scope"], file["name"])
        contents[file["name"]] = (path, path.read_bytes())
    for round_ in ("first", "second"):
        place = cached_alice.workplace()
        done = cached_alice.datalake("download", dataset, "--to", place)
        assert done.code == 0, (round_, done.err)
        found = {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        assert found == {name: content for name, (_, content) in contents.items()}
        for path, _ in contents.values():
            path.unlink(missing_ok=True)


def test_a_file_from_home_goes_to_protected_storage_with_the_storages_token(
    lake: StorageLake, alice: StorageUser
) -> None:
    for site in (TOKEN_USERDISK, TOKEN_HTTPS_USERDISK):
        name = alice.name_of("result.dat")
        source = alice.workplace() / name
        source.write_bytes(os.urandom(4000))
        done = alice.datalake("upload", source, "--rse", site, "--dataset", f"{name}.all", "--wait")
        assert done.code == 0, (site, done.err)
        assert lake.path(site, alice.scope, name).read_bytes() == source.read_bytes()


def test_pfn_says_where_others_read_it(lake: StorageLake, alice: StorageUser) -> None:
    dataset = alice.make_dataset(1, 100, SITE_B)
    done = alice.datalake("pfn", dataset)
    assert done.code == 0, done.err
    (line,) = done.out.split()
    assert line.startswith(f"root://{lake.layout.address('site-b')}//site-b/")
    done = alice.datalake("pfn", dataset, "--json")
    assert done.code == 0 and json.loads(done.out)


def test_a_destination_that_is_down_is_waited_for(lake: StorageLake, alice: StorageUser) -> None:
    folder = alice.name_of("run")
    alice.write_scratch({f"{folder}/{n}.fits": os.urandom(3000) for n in range(2)})
    lake.lab.daemons["site-b"].stop()
    try:
        done = alice.datalake("upload", alice.scratch / folder, "--qos", "SAFE")
        assert done.code == 0, done.err
    finally:
        lake.lab.daemons["site-b"].start()
    rules = {rule["rse_expression"]: rule["id"] for rule in lake.root.list_did_rules(alice.scope, folder)}
    lake.until(
        lambda: lake.root.get_replication_rule(rules["QOS=SAFE"])["state"] == "OK", seconds=180, what="the copies"
    )

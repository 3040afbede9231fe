"""`datalake path`: the files of the mounted storage for any language, or what to do, on a real Rucio."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake

from jupyterhub_dlaas.datalake.client import client
from jupyterhub_dlaas.datalake.dids import DID, File
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import load
from jupyterhub_dlaas.datalake.local import local_paths


@pytest.fixture
def here(alice: LakeUser, lake: RucioLake) -> DID:
    """A dataset on the mounted storage."""
    return alice.make_dataset(3, rse=lake.mounted)


def test_paths_of_a_dataset_are_those_rucio_says(alice: LakeUser, lake: RucioLake, here: DID):
    done = alice.datalake("path", here)
    names = [f"{here.name}.0000{number}" for number in range(3)]
    assert done.code == 0, done.err
    assert done.out.splitlines() == [str(lake.path(lake.mounted, here.scope, name)) for name in names]
    assert all(Path(line).stat().st_size == 1000 for line in done.out.splitlines())


def test_files_elsewhere_are_not_here_and_it_says_what_to_do(alice: LakeUser, lake: RucioLake):
    dataset = alice.make_dataset(7)
    done = alice.datalake("path", dataset)
    assert (done.code, done.out) == (8, "")
    assert f"{dataset}.00000: not on {lake.mounted}" in done.err
    assert "7 of 7 files are not here, and 2 more.\n" in done.err
    assert f"datalake path --wait {dataset}" in done.err


def test_wait_brings_them_here_and_prints_them(alice: LakeUser):
    dataset = alice.make_dataset(2)
    done = alice.datalake("path", "--wait", dataset)
    assert (done.code, len(done.out.splitlines())) == (0, 2), done.err
    assert alice.datalake("path", dataset).out == done.out


def test_nothing_is_printed_when_some_are_missing_unless_asked_for(alice: LakeUser, here: DID):
    missing = alice.make_dataset(1)
    assert alice.datalake("path", here, missing).out == ""
    done = alice.datalake("path", here, missing, "--partial")
    assert (done.code, len(done.out.splitlines())) == (8, 3)
    assert "1 of 4 files are not here." in done.err


def test_json_has_a_line_per_file(alice: LakeUser, lake: RucioLake, here: DID):
    missing = alice.make_dataset(1)
    done = alice.datalake("path", here, missing, "--json")
    entries = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, [entry["path"] is None for entry in entries]) == (8, [False, False, False, True])
    assert entries[3] == {
        "did": f"{missing}.00000",
        "path": None,
        "bytes": 1000,
        "why": f"not on {lake.mounted}",
    }


def test_dids_are_read_from_standard_input(alice: LakeUser, here: DID):
    done = alice.datalake("path", "-", input=f"{here}.00002\n\n{here}.00000\n")
    assert [line.rpartition(".")[2] for line in done.out.splitlines()] == ["00002", "00000"]


def test_paths_may_end_in_zero_bytes(alice: LakeUser, here: DID):
    done = alice.datalake("path", "-0", here)
    assert (done.out.count("\0"), "\n" in done.out) == (3, False)


def test_file_with_another_size_is_not_given(alice: LakeUser, lake: RucioLake, here: DID):
    path = lake.path(lake.mounted, here.scope, f"{here.name}.00001")
    path.write_bytes(b"short")
    done = alice.datalake("path", here)
    assert (done.code, done.out) == (8, "")
    assert f"{here}.00001: has 5 bytes at {path} instead of 1000" in done.err


def test_file_that_rucio_believes_in_is_not_promised_again(alice: LakeUser, lake: RucioLake, here: DID):
    path = lake.path(lake.mounted, here.scope, f"{here.name}.00001")
    path.unlink()
    done = alice.datalake("path", here)
    assert done.code == 8
    assert f"Rucio has it on {lake.mounted}, but it is not at {path}" in done.err
    assert "--wait" not in done.err


def test_container_is_expanded(alice: LakeUser, lake: RucioLake, here: DID):
    container = alice.name_of("container")
    lake.root.add_container(alice.scope, container)
    lake.root.attach_dids(alice.scope, container, [here.as_dict()])
    assert len(alice.datalake("path", f"{alice.scope}:{container}").out.splitlines()) == 3


def test_empty_dataset_has_no_paths(alice: LakeUser, lake: RucioLake):
    name = alice.name_of("empty")
    lake.root.add_dataset(alice.scope, name)
    done = alice.datalake("path", f"{alice.scope}:{name}")
    assert (done.code, done.out, done.err) == (3, "", "There are no files in it.\n")


@pytest.mark.parametrize(
    ("argument", "code", "sentence"),
    [
        ("user.alice:nope", 3, "Rucio does not know user.alice:nope."),
        ("nope", 2, "'nope' is not a DID, which has a scope and a name."),
        ("user.alice:", 2, "'user.alice:' is not a DID, which has a scope and a name."),
        ("a:b:c", 2, "'a:b:c' is not a DID, which has a scope and a name."),
        ("user.alice:a b#c%d", 3, "Rucio does not know user.alice:a b#c%d."),
        ("user.alice:a/../b", 3, "Rucio does not know user.alice:a/../b."),
    ],
)
def test_wrong_did_is_one_sentence_and_its_code(alice: LakeUser, argument, code, sentence):
    done = alice.datalake("path", argument)
    assert (done.code, done.out, done.err.splitlines()[0]) == (code, "", sentence)


def test_expired_token_is_said_and_nothing_is_asked(alice: LakeUser, here: DID):
    alice.spoil_token("expired")
    done = alice.datalake("path", here)
    assert (done.code, done.out) == (4, "")
    assert "expired" in done.err
    assert "Log in to the hub again" in done.err


def test_server_without_a_mount_is_told_to_download(alice: LakeUser, here: DID):
    alice.change_instance(mode="download", destination_rse=None, mount=None)
    done = alice.datalake("path", here)
    assert (done.code, "datalake download" in done.err) == (2, True)


def test_dead_mount_is_unreachable(alice: LakeUser, here: DID, tmp_path: Path):
    alice.change_instance(mount=str(tmp_path / "gone"))
    done = alice.datalake("path", here)
    assert (done.code, f"{tmp_path / 'gone'}: It is not there." in done.err) == (6, True)


# Not `#`, `?` and control characters: Rucio takes a physical name for a URL when it is registered, and drops them.
ODD = ("a b.dat", "ü-日本.dat", "a%20b.dat", "a'\"$.dat", os.fsdecode("é".encode()) + "+&.dat")


@pytest.fixture
def odd(alice: LakeUser, lake: RucioLake) -> tuple[DID, list[str]]:
    """A dataset of files with odd names on a storage that is not deterministic, which is mounted here for once.

    The DIDs are plain: Rucio's own schema allows nothing else. The physical names are the user's."""
    alice.change_instance(destination_rse=lake.scratch, mount=str(lake.scratch_folder()))
    root = lake.scratch_folder()
    alice.change_instance(path_begins_at=len(root.parts) - 1)
    paths = alice.write_scratch({name: name.encode() for name in ODD})
    files = [
        {
            "scope": alice.scope,
            "name": alice.name_of("odd"),
            "bytes": path.stat().st_size,
            "adler32": "00000001",
            "pfn": f"file://localhost{path}",
        }
        for path in paths
    ]
    rucio, dataset = alice.client(), DID(alice.scope, alice.name_of("dataset"))
    rucio.add_replicas(lake.scratch, files)
    rucio.add_dataset(dataset.scope, dataset.name)
    rucio.attach_dids(dataset.scope, dataset.name, [{"scope": alice.scope, "name": file["name"]} for file in files])
    return dataset, [str(path) for path in paths]


def test_odd_names_on_a_storage_with_paths_of_its_own_survive(alice: LakeUser, odd):
    dataset, paths = odd
    done = alice.datalake("path", dataset)
    assert (done.code, sorted(done.out.splitlines())) == (0, sorted(paths)), done.err


def test_odd_names_survive_in_a_pfn(alice: LakeUser, odd):
    dataset, paths = odd
    done = alice.datalake("pfn", dataset)
    assert sorted(done.out.splitlines()) == sorted(f"file://localhost{path}" for path in paths), done.err


def test_file_on_its_way_is_said_to_be(alice: LakeUser, lake: RucioLake):
    name = alice.name_of("copying")
    lake.root.add_replicas(lake.mounted, [{"scope": alice.scope, "name": name, "bytes": 1, "adler32": "00000001"}])
    lake.root.update_replicas_states(lake.mounted, [{"scope": alice.scope, "name": name, "state": "C"}])
    done = alice.datalake("path", f"{alice.scope}:{name}")
    assert f"on its way to {lake.mounted}" in done.err


def test_function_gives_answers_in_the_order_of_the_files(alice: LakeUser, here: DID):
    rucio, instance = client(environ=alice.environ), load(alice.environ).instance()
    wanted = [File(DID(here.scope, f"{here.name}.0000{number}"), 1000, None, None) for number in (2, 9, 0)]
    answers = list(local_paths(rucio, instance, wanted))
    assert [file for file, _, _ in answers] == wanted
    assert [path is not None for _, path, _ in answers] == [True, False, True]


def test_mount_that_shows_a_file_late_is_waited_for(alice: LakeUser, lake: RucioLake, here: DID):
    rucio, instance = client(environ=alice.environ), load(alice.environ).instance()
    path = lake.path(lake.mounted, here.scope, f"{here.name}.00000")
    hidden = path.rename(path.with_suffix(".hidden"))
    file = File(DID(here.scope, path.name), 1000, None, None)
    ((_, found, _),) = local_paths(rucio, instance, [file], patience_seconds=5, pause=lambda _: hidden.rename(path))
    assert found == path


def test_mount_that_never_shows_it_is_not_waited_for_without_end(alice: LakeUser, lake: RucioLake, here: DID):
    rucio, instance = client(environ=alice.environ), load(alice.environ).instance()
    lake.path(lake.mounted, here.scope, f"{here.name}.00000").unlink()
    file = File(DID(here.scope, f"{here.name}.00000"), 1000, None, None)
    waited: list[float] = []
    ((_, found, _),) = local_paths(rucio, instance, [file], patience_seconds=5, pause=waited.append)
    assert (found, sum(waited) < 10) == (None, True)


def test_function_says_that_nothing_is_mounted(alice: LakeUser):
    alice.change_instance(mount=None)
    rucio, instance = client(environ=alice.environ), load(alice.environ).instance()
    with pytest.raises(Failure) as caught:
        list(local_paths(rucio, instance, []))
    assert caught.value.code is Code.USAGE

"""`datalake register`: files that lie on a storage already, against a real Rucio."""

from __future__ import annotations

import json
import os
import signal
import time
import zlib
from pathlib import Path

import pytest
from rucio.common.exception import DataIdentifierNotFound
from support.faults import faulty_proxy
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake, path_of


def night(alice: LakeUser, count: int = 3) -> Path:
    """A folder of an instrument's files on a storage, which is their scratch."""
    name = alice.name_of("night")
    alice.write_scratch({f"{name}/f{number:04d}.dat": os.urandom(100) for number in range(count)})
    return alice.scratch / name


def files_of(lake: RucioLake, alice: LakeUser, dataset: str) -> set[str]:
    """The names of its files; none while it is not there yet."""
    try:
        return {entry["name"] for entry in lake.root.list_files(alice.scope, dataset)}
    except DataIdentifierNotFound:
        return set()


def rules(alice: LakeUser, name: str) -> dict[str, dict]:
    return {rule["rse_expression"]: rule for rule in alice.lake.root.list_did_rules(alice.scope, name)}


@pytest.fixture(scope="module")
def sorted_disk(lake: RucioLake, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A deterministic storage on which users may register, and its folder."""
    rse, folder = "SORTED-USERDISK", tmp_path_factory.mktemp("sorted")
    lake.add_disk(rse, folder)
    return rse, folder


def test_files_are_registered_under_the_paths_that_they_have(lake: RucioLake, alice: LakeUser) -> None:
    folder = night(alice)

    done = alice.datalake("register", folder, "--rse", lake.scratch, "--json")

    assert done.code == 0, done
    for path in folder.iterdir():
        assert lake.path(lake.scratch, alice.scope, f"{folder.name}/{path.name}") == path
    assert rules(alice, folder.name)[lake.scratch]["state"] == "OK"
    assert rules(alice, folder.name)[lake.scratch]["expires_at"] is None


def test_a_buffer_is_released_once_the_destination_has_the_files(lake: RucioLake, alice: LakeUser) -> None:
    folder = night(alice)

    done = alice.datalake("register", folder, "--rse", lake.scratch, "--to", lake.remote, "--release")

    assert done.code == 0, done
    lake.until(lambda: not list(folder.glob("*")), what="the buffer's copies go")
    assert rules(alice, folder.name)[lake.remote]["state"] == "OK"


def test_without_release_the_buffer_keeps_its_files(lake: RucioLake, alice: LakeUser) -> None:
    folder = night(alice)

    done = alice.datalake("register", folder, "--rse", lake.scratch, "--to", lake.remote, "--wait")

    assert done.code == 0, done
    assert rules(alice, folder.name)[lake.scratch]["child_rule_id"] is None
    assert len(list(folder.glob("*"))) == 3


def in_its_place(alice: LakeUser, rse: str, content: bytes) -> tuple[str, Path]:
    """A file where the deterministic storage expects it: its name and path."""
    name = alice.name_of("file")
    expected = alice.client().lfns2pfns(rse, [f"{alice.scope}:{name}"])[f"{alice.scope}:{name}"]
    path = path_of(expected)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name, path


def test_a_storage_that_users_may_not_write_to_refuses(lake: RucioLake, alice: LakeUser) -> None:
    name, path = in_its_place(alice, lake.mounted, b"mine")

    done = alice.datalake("register", path, "--rse", lake.mounted, "--dataset", alice.name_of("mine"))

    assert done.code == 4, done
    assert "can not add file replicas on EULAKE-1" in done.err
    assert not list(alice.client().list_dids(alice.scope, {"name": name}, did_type="file"))


def test_on_a_deterministic_storage_files_are_where_rucio_expects_them(
    alice: LakeUser, sorted_disk: tuple[str, Path]
) -> None:
    rse, _ = sorted_disk
    name, path = in_its_place(alice, rse, b"in its place")

    done = alice.datalake("register", path, "--rse", rse, "--dataset", alice.name_of("sorted"))

    assert done.code == 0, done
    assert alice.client().get_did(alice.scope, name)["adler32"] == f"{zlib.adler32(b'in its place'):08x}"


def test_a_file_elsewhere_on_a_deterministic_storage_is_refused_with_its_place(
    alice: LakeUser, sorted_disk: tuple[str, Path]
) -> None:
    rse, folder = sorted_disk
    name = alice.name_of("file")
    (folder / name).write_bytes(b"not in its place")

    done = alice.datalake("register", folder / name, "--rse", rse, "--dataset", alice.name_of("sorted"))

    assert done.code == 2, done
    assert f"SORTED-USERDISK has its own places, where {alice.scope}:{name} has to be {folder}/user/alice/" in done.err


def test_a_folder_is_followed_until_told_to_stop(lake: RucioLake, alice: LakeUser) -> None:
    folder = night(alice)
    dataset = alice.name_of("obs")
    command = ("register", folder, "--rse", lake.scratch, "--dataset", dataset, "--to", lake.remote, "--release")
    running = alice.start_datalake(*command, "--follow", "--done-suffix", ".done", "--json")

    def registered() -> set[str]:
        return files_of(lake, alice, dataset)

    for number in (0, 1):
        (folder / f"f{number:04d}.dat.done").touch()
        lake.until(lambda: f"{folder.name}/f{number:04d}.dat" in registered(), what="a complete file is registered")  # noqa: B023
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)

    assert running.returncode == 0, err
    assert json.loads(out)["files"] == 2
    assert registered() == {f"{folder.name}/f0000.dat", f"{folder.name}/f0001.dat"}
    lake.until(lambda: not (folder / "f0000.dat").exists(), what="the buffer's copy goes")
    assert (folder / "f0002.dat").exists()


def test_a_followed_folder_goes_on_after_a_kill(lake: RucioLake, alice: LakeUser) -> None:
    folder = night(alice)
    dataset = alice.name_of("obs")
    command = ("register", folder, "--rse", lake.scratch, "--dataset", dataset, "--follow", "--settled", "0", "--json")
    running = alice.start_datalake(*command)
    journal = Path(alice.environ["HOME"], ".local/state/datalake")
    lake.until(lambda: any('"registered"' in path.read_text() for path in journal.glob("*.jsonl")))
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    (folder / "late.dat").write_bytes(b"late")

    again = alice.start_datalake(*command)
    lake.until(lambda: len(files_of(lake, alice, dataset)) == 4, what="the late file is there, too")
    time.sleep(0.1)
    again.send_signal(signal.SIGINT)
    out, err = again.communicate(timeout=60)

    assert again.returncode == 0, err
    assert json.loads(out)["files"] == 1
    parts = [did["name"] for did in lake.root.list_content(alice.scope, dataset)]
    assert all(rules(alice, part)[lake.scratch]["state"] == "OK" for part in parts)


def test_while_rucio_is_away_files_wait_in_the_buffer_and_are_registered_later(
    lake: RucioLake, alice: LakeUser
) -> None:
    folder = night(alice)
    dataset = alice.name_of("obs")
    with faulty_proxy(lake.url) as proxy:
        alice.change_instance(rucio_host=proxy.url)
        away = proxy.add("/dids/bulkmeta", 502, times=6)
        command = ("register", folder, "--rse", lake.scratch, "--dataset", dataset, "--follow", "--settled", "0")
        running = alice.start_datalake(*command)
        away.met.wait(30)
        lake.until(lambda: len(files_of(lake, alice, dataset)) == 3, what="the files are registered")
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=60)

    assert running.returncode == 0, err
    assert "It is tried again." in err


def test_a_file_that_rucio_does_not_take_is_left_and_said_once(lake: RucioLake, alice: LakeUser) -> None:
    folder = night(alice)
    (folder / "50%.dat").write_bytes(b"x")
    dataset = alice.name_of("obs")
    command = ("register", folder, "--rse", lake.scratch, "--dataset", dataset, "--follow", "--settled", "0")
    running = alice.start_datalake(*command)
    lake.until(lambda: len(files_of(lake, alice, dataset)) == 3, what="the others are registered")
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)

    assert running.returncode == 1, err
    assert err.count("50%.dat is left out: a name in Rucio cannot have %.") == 1

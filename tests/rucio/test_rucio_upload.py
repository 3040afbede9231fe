"""`datalake upload` from the scratch area, against a real Rucio with real copies and a real reaper."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import zlib
from pathlib import Path

from support.lake_user import LakeUser
from support.rucio_lake import RucioLake


def results(alice: LakeUser, count: int = 3, folder: str = "run") -> str:
    """A folder of files in their scratch; its name, which no other test has."""
    name = alice.name_of(folder)
    alice.write_scratch({f"{name}/part{number % 3}/f{number:04d}.dat": os.urandom(100) for number in range(count)})
    return name


def contents(alice: LakeUser, dataset: str) -> dict[str, str]:
    """Name -> adler32 of a dataset's files, as Rucio has them."""
    return {entry["name"]: entry["adler32"] for entry in alice.lake.root.list_files(alice.scope, dataset)}


def rules(alice: LakeUser, name: str) -> dict[str, dict]:
    return {rule["rse_expression"]: rule for rule in alice.lake.root.list_did_rules(alice.scope, name)}


def test_files_of_the_scratch_come_to_the_destination_and_leave_the_scratch(lake: RucioLake, alice: LakeUser) -> None:
    name = results(alice)
    sums = {
        f"{name}/{path.relative_to(alice.scratch / name)}": f"{zlib.adler32(path.read_bytes()):08x}"
        for path in (alice.scratch / name).rglob("*.dat")
    }

    done = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE", "--wait")

    assert done.code == 0, done
    assert "3 files of 300 B registered." in done.out
    assert contents(alice, name) == sums
    for file, adler32 in sums.items():
        assert f"{zlib.adler32(lake.path(lake.remote, alice.scope, file).read_bytes()):08x}" == adler32
    lake.until(lambda: not list((alice.scratch / name).rglob("*.dat")), what="the scratch copies go")


def test_nobody_has_to_wait_for_the_scratch_copy_to_go(lake: RucioLake, alice: LakeUser) -> None:
    name = results(alice)

    assert alice.datalake("upload", alice.scratch / name, "--qos", "SAFE").code == 0

    lake.until(lambda: set(rules(alice, name)) == {"QOS=SAFE"}, what="the scratch rule goes")
    assert rules(alice, name)["QOS=SAFE"]["state"] == "OK"


def test_the_same_command_again_registers_nothing_twice(alice: LakeUser) -> None:
    name = results(alice)
    command = ("upload", alice.scratch / name, "--qos", "SAFE", "--json")
    first = json.loads(alice.datalake(*command).out)
    alice.write_scratch({f"{name}/late.dat": b"late"})

    again = json.loads(alice.datalake(*command).out)

    assert (first["files"], again["files"]) == (3, 1)
    assert f"{name}/late.dat" in contents(alice, name)


def test_a_lost_journal_is_no_loss(alice: LakeUser) -> None:
    name = results(alice)
    kept = {path: path.read_bytes() for path in (alice.scratch / name).rglob("*.dat")}
    command = ("upload", alice.scratch / name, "--qos", "SAFE", "--json")
    assert alice.datalake(*command).code == 0
    alice.lake.until(lambda: not list((alice.scratch / name).rglob("*.dat")), what="the scratch copies go")
    shutil.rmtree(Path(alice.environ["HOME"], ".local/state/datalake"))
    for path, content in kept.items():
        path.write_bytes(content)

    again = json.loads(alice.datalake(*command).out)

    assert (again["files"], again["already"], again["rules"]) == (0, 3, [])


def test_a_name_in_use_for_other_bytes_is_refused_and_the_rest_registered(alice: LakeUser) -> None:
    name = results(alice)
    command = ("upload", alice.scratch / name, "--qos", "SAFE")
    assert alice.datalake(*command).code == 0
    alice.lake.until(lambda: not list((alice.scratch / name).rglob("*.dat")), what="the scratch copies go")
    alice.write_scratch({f"{name}/part0/f0000.dat": b"other", f"{name}/new.dat": b"new"})

    done = alice.datalake(*command)

    assert done.code == 7
    assert f"Rucio has user.alice:{name}/part0/f0000.dat already, with 100 bytes instead of 5" in done.err
    assert f"{name}/new.dat" in contents(alice, name)


def test_killed_in_the_middle_it_goes_on(alice: LakeUser) -> None:
    name = results(alice, 2500)
    command = ("upload", alice.scratch / name, "--qos", "SAFE", "--json")
    running = alice.start_datalake(*command)
    journal = Path(alice.environ["HOME"], ".local/state/datalake")
    deadline = time.monotonic() + 60
    while not any('"registered"' in path.read_text() for path in journal.glob("*.jsonl")):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()

    again = alice.datalake(*command)

    assert again.code == 0, again
    done = json.loads(again.out)
    assert done["already"] >= 900
    assert done["files"] + done["already"] == len(contents(alice, name)) == 2500
    assert "QOS=SAFE" in rules(alice, name)


def test_folders_become_datasets_of_a_container(alice: LakeUser) -> None:
    name, container = results(alice), alice.name_of("survey")

    done = alice.datalake("upload", alice.scratch / name, "--container", container, "--qos", "SAFE", "--json")

    assert done.code == 0, done
    datasets = {entry["name"] for entry in alice.lake.root.list_content(alice.scope, container)}
    assert datasets == {f"{container}/{name}/part{number}" for number in range(3)}
    assert len(list(alice.lake.root.list_files(alice.scope, container))) == 3
    assert all("QOS=SAFE" in rules(alice, dataset) for dataset in datasets)


def test_files_added_to_a_dataset_of_others_are_ruled_by_a_part_of_their_own(lake: RucioLake, alice: LakeUser) -> None:
    name, dataset = results(alice), alice.make_dataset(2)

    done = alice.datalake("upload", alice.scratch / name, "--dataset", str(dataset), "--qos", "FAST", "--json")

    assert done.code == 0, done
    (ruled,) = json.loads(done.out)["rules"]
    assert ruled["did"].startswith(f"{dataset}.part-")
    assert len(contents(alice, dataset.name)) == 5
    assert lake.scratch not in rules(alice, dataset.name)


def test_a_dry_run_prints_the_plan_and_does_nothing(lake: RucioLake, alice: LakeUser) -> None:
    name = results(alice, 1)

    done = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE", "--dry-run")

    assert done.code == 0, done
    path = alice.scratch / name / "part0" / "f0000.dat"
    assert done.out == f"{path} -> user.alice:{name}/part0/f0000.dat in user.alice:{name}  file://localhost:0{path}\n"
    assert not list(alice.client().list_dids(alice.scope, {"name": f"{name}*"}, did_type="all"))


def test_spaces_and_umlauts_in_paths_travel_under_safe_names(lake: RucioLake, alice: LakeUser) -> None:
    name = alice.name_of("run")
    alice.write_scratch({f"{name}/my größe.dat": b"12"})

    refused = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE")
    done = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE", "--safe-names", "--wait")

    assert refused.code == 2
    assert r"a name in Rucio cannot have a space, \xdf, \xf6" in refused.err
    assert done.code == 0, done
    assert lake.path(lake.remote, alice.scope, f"{name}/my_gr__e.dat").read_bytes() == b"12"


def test_an_empty_file_is_a_file(lake: RucioLake, alice: LakeUser) -> None:
    name = alice.name_of("run")
    alice.write_scratch({f"{name}/empty.dat": b""})

    done = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE", "--wait")

    assert done.code == 0, done
    assert contents(alice, name) == {f"{name}/empty.dat": "00000001"}


def test_an_empty_folder_is_nothing_to_upload(alice: LakeUser) -> None:
    (alice.scratch / "empty").mkdir()

    done = alice.datalake("upload", alice.scratch / "empty", "--qos", "SAFE")

    assert (done.code, done.out) == (3, "")
    assert f"There are no files in {alice.scratch / 'empty'}." in done.err


def test_a_quota_that_does_not_suffice_is_said_before_anything_is_registered(bob: LakeUser) -> None:
    name = bob.name_of("run")
    bob.write_scratch({f"{name}/large.dat": bytes(2**21)})

    done = bob.datalake("upload", bob.scratch / name, "--qos", "SAFE")

    assert done.code == 5, done
    assert "Your quota does not suffice for 2.1 MB: DESY-DCACHE has" in done.err
    assert not list(bob.client().list_dids(bob.scope, {"name": f"{name}*"}, did_type="all"))


def test_a_class_that_no_storage_is_of_is_not_found(alice: LakeUser) -> None:
    done = alice.datalake("upload", alice.scratch / results(alice), "--qos", "GOLD")

    assert done.code == 3
    assert "No storage is of the class GOLD." in done.err
    assert "SAFE (DESY-DCACHE)" in done.err


def test_without_a_destination_it_asks_for_one(alice: LakeUser) -> None:
    done = alice.datalake("upload", alice.scratch / results(alice))

    assert done.code == 2
    assert "Where are the data to go?" in done.err


def test_a_refused_sign_in_is_one_sentence(alice: LakeUser) -> None:
    name = results(alice)
    alice.spoil_token("expired")

    done = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE")

    assert done.code == 4
    assert "Traceback" not in done.err


def test_ctrl_c_while_registering_keeps_what_was_done(alice: LakeUser) -> None:
    name = results(alice, 1500)
    command = ("upload", alice.scratch / name, "--qos", "SAFE", "--json")
    running = alice.start_datalake(*command)
    journal = Path(alice.environ["HOME"], ".local/state/datalake")
    alice.lake.until(lambda: any('"registered"' in path.read_text() for path in journal.glob("*.jsonl")))
    running.send_signal(signal.SIGINT)
    out, err = running.communicate()

    done = alice.datalake(*command)

    assert running.returncode == 130, err
    assert out == ""
    assert "The same command goes on where this one stopped." in err
    assert done.code == 0, done
    assert len(contents(alice, name)) == 1500


def test_no_room_for_the_journal_is_one_sentence_and_nothing_is_registered(alice: LakeUser, tmp_path: Path) -> None:
    name = results(alice)
    (tmp_path / "state").write_text("a file where the folder would be")

    done = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE", env={"XDG_STATE_HOME": f"{tmp_path}/state"})

    assert done.code in {2, 3}, done
    assert "Traceback" not in done.err
    assert not list(alice.client().list_dids(alice.scope, {"name": f"{name}*"}, did_type="all"))


def test_when_all_is_gone_from_the_scratch_the_same_command_still_says_how_it_is(alice: LakeUser) -> None:
    name = results(alice)
    command = ("upload", alice.scratch / name, "--qos", "SAFE")
    assert alice.datalake(*command).code == 0
    alice.lake.until(lambda: not list((alice.scratch / name).rglob("*.dat")), what="the scratch copies go")

    again = alice.datalake(*command, "--wait")

    assert again.code == 0, again
    assert f"user.alice:{name}: 3 files there, kept without end" in again.out

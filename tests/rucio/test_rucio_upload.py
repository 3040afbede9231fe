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

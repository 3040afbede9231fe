"""`datalake upload` of files that are not on a scratch area: copied to a storage, then registered like all others."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.faults import faulty_proxy
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake

from jupyterhub_dlaas.datalake.client import client
from jupyterhub_dlaas.datalake.upload import Run, Wish, upload


@pytest.fixture(scope="module")
def disk(lake: RucioLake, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage to which users may write by themselves."""
    rse, folder = "HOME-USERDISK", tmp_path_factory.mktemp("disk")
    lake.add_disk(rse, folder)
    return rse


def papers(alice: LakeUser, count: int = 3) -> Path:
    folder = Path(alice.environ["HOME"]) / alice.name_of("papers")
    folder.mkdir()
    for number in range(count):
        (folder / f"p{number}.pdf").write_bytes(os.urandom(1000))
    return folder


def test_files_from_home_are_copied_and_kept_by_one_rule(lake: RucioLake, alice: LakeUser, disk: str) -> None:
    folder = papers(alice)

    done = alice.datalake("upload", folder, "--rse", disk, "--json")

    assert done.code == 0, done
    for path in folder.iterdir():
        copy = lake.path(disk, alice.scope, f"{folder.name}/{path.name}")
        assert copy.read_bytes() == path.read_bytes()
    (rule,) = lake.root.list_did_rules(alice.scope, folder.name)
    assert (rule["rse_expression"], rule["state"], rule["locks_ok_cnt"]) == (disk, "OK", 3)


def test_the_same_command_again_copies_what_is_new(lake: RucioLake, alice: LakeUser, disk: str) -> None:
    folder = papers(alice)
    alice.datalake("upload", folder, "--rse", disk)
    (folder / "late.pdf").write_bytes(b"late")

    done = alice.datalake("upload", folder, "--rse", disk, "--json")

    assert done.code == 0, done
    assert json.loads(done.out)["files"] == 1
    assert lake.path(disk, alice.scope, f"{folder.name}/late.pdf").read_bytes() == b"late"


def test_another_file_of_the_same_name_is_refused(alice: LakeUser, disk: str) -> None:
    folder = papers(alice, 1)
    alice.datalake("upload", folder, "--rse", disk)
    (folder / "p0.pdf").write_bytes(b"other")

    done = alice.datalake("upload", folder, "--rse", disk)

    assert done.code == 7, done
    assert f"Rucio has user.alice:{folder.name}/p0.pdf already, with 1000 bytes instead of 5" in done.err


def test_a_storage_that_users_may_not_write_to_is_said_so(lake: RucioLake, alice: LakeUser) -> None:
    done = alice.datalake("upload", papers(alice), "--rse", lake.remote)

    assert done.code == 4, done
    assert "Rucio does not let you write to DESY-DCACHE" in done.err
    assert "Traceback" not in done.err


def test_files_of_the_scratch_and_of_home_are_two_commands(alice: LakeUser, disk: str) -> None:
    (here,) = alice.write_scratch({"x.dat": b"x"})

    done = alice.datalake("upload", here, papers(alice), "--rse", disk)

    assert done.code == 2
    assert "not on the same storage" in done.err


def test_a_request_whose_answer_is_lost_is_sent_again(alice: LakeUser) -> None:
    name = alice.name_of("run")
    alice.write_scratch({f"{name}/f{number}.dat": b"%d" % number for number in range(5)})
    with faulty_proxy(alice.lake.url) as proxy:
        alice.change_instance(rucio_host=proxy.url)
        lost = proxy.add("POST /dids/attachments", "hang-after", times=1)
        rucio = client(environ=alice.environ, timeout=3)
        run = Run(environ=alice.environ, client=rucio)

        report = upload([alice.scratch / name], Wish(qos="SAFE"), run)

    assert lost.met.is_set()
    assert (report.files, report.bad) == (5, 0)
    assert len(list(alice.lake.root.list_files(alice.scope, name))) == 5


def test_while_rucio_is_away_it_is_tried_again(alice: LakeUser) -> None:
    name = alice.name_of("run")
    alice.write_scratch({f"{name}/f{number}.dat": b"%d" % number for number in range(5)})
    with faulty_proxy(alice.lake.url) as proxy:
        alice.change_instance(rucio_host=proxy.url)
        proxy.add("POST /dids/attachments", 502, times=2)

        done = alice.datalake("upload", alice.scratch / name, "--qos", "SAFE")

    assert done.code == 0, done
    assert "It is tried again." in done.err


def test_ctrl_c_while_copying_ends_at_once_and_the_same_command_goes_on(
    lake: RucioLake, alice: LakeUser, disk: str
) -> None:
    folder = papers(alice, 60)
    command = ("upload", folder, "--rse", disk, "--json")
    running = alice.start_datalake(*command)
    journal = Path(alice.environ["HOME"], ".local/state/datalake")
    lake.until(lambda: any('"registered"' in path.read_text() for path in journal.glob("*.jsonl")))
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)

    done = alice.datalake(*command)

    assert running.returncode == 130, err
    assert done.code == 0, done
    assert json.loads(done.out)["already"] >= 20
    assert len(list(lake.root.list_files(alice.scope, folder.name))) == 60

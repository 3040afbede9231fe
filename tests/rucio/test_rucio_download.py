"""`datalake download` against a real Rucio: whole files, again and again, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake, path_of

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.download import download
from jupyterhub_dlaas.datalake.failure import Code


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder to download to."""
    place = tmp_path / "here"
    place.mkdir()
    return place


def stored(lake: RucioLake, did: DID) -> dict[str, Path]:
    """Where the dataset's files lie at the storage, by name."""
    replicas = lake.root.list_replicas([did.as_dict()])
    return {entry["name"]: path_of(next(iter(entry["pfns"]))) for entry in replicas}


def here(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dataset_comes_whole_into_a_folder_of_its_name(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(5, 3000)
    done = alice.datalake("download", did, "--to", there)
    assert (done.code, done.out) == (0, f"5 files (15.0 kB) downloaded to {there}.\n"), done.err
    assert here(there / did.name) == {name: path.read_bytes() for name, path in stored(lake, did).items()}


def test_a_file_by_itself_needs_no_folder(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    name = min(stored(lake, alice.make_dataset(1)))
    assert alice.datalake("download", f"{alice.scope}:{name}", "--to", there).code == 0
    assert [path.name for path in (there).iterdir()] == [name]


def test_what_is_there_is_not_fetched_again(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(4)
    assert alice.datalake("download", did, "--to", there).code == 0
    for path in stored(lake, did).values():
        path.unlink()
    done = alice.datalake("download", did, "--to", there, "--json")
    assert (done.code, json.loads(done.out)["present"], json.loads(done.out)["downloaded"]) == (0, 4, 0)


def test_a_file_of_other_content_is_left_alone_unless_told(alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(2, 500)
    first = there / did.name / f"{did.name}.00000"
    first.parent.mkdir()
    first.write_bytes(b"my own work")
    done = alice.datalake("download", did, "--to", there)
    assert (done.code, first.read_bytes()) == (Code.USAGE, b"my own work")
    assert "is there already, with other content" in done.err
    assert alice.datalake("download", did, "--to", there, "--overwrite").code == 0
    assert first.stat().st_size == 500


@pytest.mark.parametrize("damage", ["short", "changed"])
def test_a_damaged_copy_never_gets_a_name(lake: RucioLake, alice: LakeUser, there: Path, damage: str) -> None:
    did = alice.make_dataset(2, 1000)
    name, path = min(stored(lake, did).items())
    path.write_bytes(path.read_bytes()[:500] if damage == "short" else b"x" * 1000)
    done = alice.datalake("download", did, "--to", there)
    assert done.code == Code.BAD_DATA
    assert ("500 of 1,000 bytes" if damage == "short" else "other bytes than were registered") in done.err
    assert list(here(there)) == [max(stored(lake, did))]
    assert name not in here(there)


def test_a_damaged_copy_is_no_harm_where_there_is_another(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(1, 1000)
    ((name, damaged),) = stored(lake, did).items()
    content = damaged.read_bytes()
    assert alice.datalake("make-available", did).code == 0
    damaged.write_bytes(b"x" * 1000)
    assert alice.datalake("download", did, "--to", there).code == 0
    assert here(there) == {name: content}


def test_what_is_gone_from_the_storage_is_said_to_be_gone(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(2)
    min(stored(lake, did).values()).unlink()
    done = alice.datalake("download", did, "--to", there)
    assert done.code == Code.NOT_FOUND, done.err
    assert len(here(there)) == 1


def test_where_the_mount_is_dead_the_storage_itself_is_read(alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(2)
    alice.change_instance(mount="/nonexistent/eos")
    done = alice.datalake("download", did, "--to", there)
    assert (done.code, len(here(there))) == (0, 2), done.err


def test_an_unknown_did_is_an_answer(alice: LakeUser, there: Path) -> None:
    done = alice.datalake("download", "user.alice:no-such-thing", "--to", there)
    assert (done.code, done.out) == (Code.NOT_FOUND, "")
    assert done.err.startswith("Rucio does not know user.alice:no-such-thing.")


def test_a_folder_that_cannot_be_written_is_one_sentence(alice: LakeUser, there: Path) -> None:
    (there / "file").touch()
    done = alice.datalake("download", alice.make_dataset(1), "--to", there / "file")
    assert done.code in {Code.USAGE, Code.NOT_FOUND}
    assert "Traceback" not in done.err


def test_a_token_that_rucio_refuses_is_one_sentence(alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(1)
    alice.spoil_token("expired")
    done = alice.datalake("download", did, "--to", there)
    assert (done.code, done.out) == (Code.REFUSED, "")
    assert "expired" in done.err


def test_a_full_disk_ends_it_and_leaves_no_half_file(alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(4, 300_000)
    mount = f"mount -t tmpfs -o size=500k none {there}"
    script = f"{mount} || exit 77; datalake download {did} --to {there}; code=$?; find {there} -type f; exit $code"
    command = ["unshare", "--mount", "bash", "-c", script]
    done = subprocess.run(command, env=alice.environ, capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    assert done.returncode == Code.NO_SPACE, done.stderr
    assert "No space left on device" in done.stderr
    assert len(done.stdout.split()) <= 1


def test_ctrl_c_leaves_whole_files_and_the_next_run_goes_on(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(40, 200_000)
    slow = max(stored(lake, did).values())
    content = slow.read_bytes()
    slow.unlink()
    os.mkfifo(slow)  # a storage that gives nothing
    running = alice.start_datalake("download", did, "--to", there)
    folder = there / did.name
    deadline = time.monotonic() + 30
    while len(list(folder.glob("dataset*"))) < 39 and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, "Interrupted" in said) == (Code.INTERRUPTED, True)
    assert {path.name: path.stat().st_size for path in folder.iterdir() if path.stat().st_size != 200_000} == {}
    slow.unlink()
    slow.write_bytes(content)
    done = alice.datalake("download", did, "--to", there, "--json")
    assert (done.code, json.loads(done.out)["present"], json.loads(done.out)["downloaded"]) == (0, 39, 1)


def test_what_a_killed_run_has_left_is_swept(alice: LakeUser, there: Path) -> None:
    import socket

    did = alice.make_dataset(1)
    left = there / did.name / f".0123456789abcdef.{socket.gethostname()}.999999999.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert alice.datalake("download", did, "--to", there).code == 0
    assert not left.exists()


def in_a_notebook(alice: LakeUser, code: str) -> str:
    code = "from jupyterhub_dlaas.datalake.download import download\n" + code
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=alice.environ, capture_output=True, text=True, check=True).stdout


def test_a_notebook_gets_a_report_and_progress_in_bytes(alice: LakeUser, there: Path) -> None:
    code = f"""
heard = []
report = download(["{alice.make_dataset(3, 1000)}"], "{there}", on_progress=heard.append)
print(report.downloaded, report.bytes, report.code.name, sum(heard))
"""
    assert in_a_notebook(alice, code) == "3 3000 OK 3000\n"


def test_files_that_move_meanwhile_are_found_where_they_went(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    did = alice.make_dataset(3)
    before, rules = stored(lake, did), []

    def move(_more: int) -> None:
        if not rules:
            rules.extend(lake.root.add_replication_rule([did.as_dict()], 1, lake.mounted))
            assert lake.settled(rules[0])["state"] == "OK"
            for path in before.values():
                path.unlink()

    report = download([did], there, workers=1, on_progress=move, environ=alice.environ)
    assert (report.downloaded, report.failed) == (3, 0), report


def test_a_failure_is_raised_in_a_notebook(alice: LakeUser) -> None:
    code = """
from jupyterhub_dlaas.datalake.failure import Failure
try:
    download(["no-scope"], ".")
except Failure as failure:
    print(failure.code.name)
"""
    assert in_a_notebook(alice, code) == "USAGE\n"


def test_two_files_of_one_name_do_not_overwrite_each_other(lake: RucioLake, alice: LakeUser, there: Path) -> None:
    one, other = alice.make_dataset(1), alice.make_dataset(1)
    both = DID(alice.scope, alice.name_of("container"))
    lake.root.add_container(both.scope, both.name)
    lake.root.attach_dids(both.scope, both.name, [one.as_dict(), other.as_dict()])
    done = alice.datalake("download", both, "--to", there)
    assert done.code == 0, done.err
    assert len(here(there / both.name)) == 2

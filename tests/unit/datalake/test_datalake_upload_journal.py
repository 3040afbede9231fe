"""The journal: what a run that was killed at any point finds again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.journal import Journal, folder

ABOUT = {"command": "upload", "paths": ["/scratch/run"]}
ONE, TWO = b"1" * 16, b"2" * 16


def test_what_was_noted_is_there_again(tmp_path: Path) -> None:
    with Journal(ABOUT, tmp_path) as journal:
        journal.summed(ONE, 1 << 30, "0000000a")
        journal.has([TWO])
        journal.fact("dataset", scope="user.alice", name="run", holder="run")

    with Journal(ABOUT, tmp_path) as again:
        assert again.sums == {ONE: "0000000a"}
        assert again.registered == {TWO}
        assert [fact["name"] for fact in again.facts_of("dataset")] == ["run"]


def test_a_sum_is_forgotten_when_its_file_is_registered(tmp_path: Path) -> None:
    with Journal(ABOUT, tmp_path) as journal:
        journal.summed(ONE, 1 << 30, "0000000a")
        journal.has([ONE])

    with Journal(ABOUT, tmp_path) as again:
        assert again.sums == {}


def test_the_sum_of_a_small_file_is_not_worth_a_line(tmp_path: Path) -> None:
    with Journal(ABOUT, tmp_path) as journal:
        journal.summed(ONE, 1000, "0000000a")

        assert journal.path.read_text().count("\n") == 1


def test_another_command_has_another_journal(tmp_path: Path) -> None:
    with Journal(ABOUT, tmp_path) as journal:
        journal.has([ONE])

    with Journal({**ABOUT, "paths": ["/scratch/other"]}, tmp_path) as other:
        assert other.registered == set()


def test_cut_off_after_any_byte_it_is_read_up_to_the_last_whole_line(tmp_path: Path) -> None:
    with Journal(ABOUT, tmp_path) as journal:
        journal.has([ONE])
        journal.has([TWO])
    whole = journal.path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]

    for cut in range(len(whole)):
        journal.path.write_bytes(whole[:cut])
        with Journal(ABOUT, tmp_path) as again:
            # A line without its end is whole all the same.
            assert len(again.registered) == sum(cut >= end - 1 for end in ends[1:])
            again.has([b"3" * 16])
        with Journal(ABOUT, tmp_path) as third:
            assert b"3" * 16 in third.registered


def test_two_runs_of_the_same_command_do_not_meet(tmp_path: Path) -> None:
    with Journal(ABOUT, tmp_path), pytest.raises(Failure) as raised:
        Journal(ABOUT, tmp_path)

    assert raised.value.code is Code.USAGE
    assert "at work already" in raised.value.sentence


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    journal = Journal(ABOUT, tmp_path)
    os.dup2(os.open("/dev/full", os.O_WRONLY), journal._descriptor)

    with pytest.raises(OSError, match="No space left"):
        journal.has([ONE])

    assert ONE not in journal.registered


def test_journals_are_not_in_the_scratch_but_with_the_users_state() -> None:
    assert folder({"HOME": "/home/alice"}) == Path("/home/alice/.local/state/datalake")
    assert folder({"HOME": "/home/alice", "XDG_STATE_HOME": "/state"}) == Path("/state/datalake")

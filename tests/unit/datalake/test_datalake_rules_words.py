"""A rule's state, the reason why it is stuck, lifetimes and classes, in words and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from jupyterhub_dlaas.datalake.cli import main
from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lifetime import FOREVER, for_rucio, seconds_of
from jupyterhub_dlaas.datalake.qos import qos_expression
from jupyterhub_dlaas.datalake.replacing import remaining
from jupyterhub_dlaas.datalake.rule import Rule, reason, rule_of


def rule(state="REPLICATING", ok=0, replicating=0, stuck=0, copies=1, expires_at=None, error=""):
    did = DID("user.alice", "run-7")
    return Rule("0" * 32, did, "EULAKE-1", copies, state, ok, replicating, stuck, expires_at, error)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (rule(ok=3, replicating=7), "3 of 10 files there, 7 on the way"),
        (rule("OK", ok=10), "10 files there"),
        (rule("OK", ok=1), "1 file there"),
        (rule(replicating=1), "0 of 1 file there, 1 on the way"),
        (rule("STUCK", ok=1, replicating=2, stuck=3), "1 of 6 files there, 2 on the way, 3 stuck"),
        (rule("SUSPENDED", ok=1, stuck=3), "1 of 4 files there, 3 given up"),
        (rule("OK"), "no files in it"),
        (rule("INJECT"), "accepted, not begun yet"),
        (rule("WAITING_APPROVAL"), "waits for the approval of the data managers"),
        (rule(ok=3, replicating=3, copies=2), "3 of 6 copies there, 3 on the way"),
        (rule("OK", ok=6, copies=2), "6 copies there"),
    ],
)
def test_state_in_words(one, words):
    assert one.words == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("MissingSourceReplica", "no storage has a copy that can be read (Rucio says: MissingSourceReplica)"),
        (
            "TRANSFER_FAILED:/a has adler32 00 instead of 01",
            "a copy arrived damaged (Rucio says: /a has adler32 00 instead of 01)",
        ),
        (
            "cannot copy /a/b: No such file or directory",
            "the file is gone at the storage that has it (Rucio says: cannot copy /a/b: No such file or directory)",
        ),
        ("RequestErrMsg.NO_SOURCES:RequestState.NO_SOURCES", "no storage has a copy that can be read"),
        ("something new", "Rucio says: something new"),
        ("", "Rucio does not say why"),
    ],
)
def test_reason_in_words_keeps_rucios_own(error, words):
    assert reason(error).startswith(words)


def test_instants_of_rucio_are_utc():
    entry = {
        "id": "1",
        "scope": "s",
        "name": "n",
        "rse_expression": "A",
        "copies": 1,
        "state": "OK",
        "locks_ok_cnt": 1,
        "locks_replicating_cnt": 0,
        "locks_stuck_cnt": 0,
        "expires_at": datetime(2026, 1, 2, 3),  # as Rucio's client gives it
        "error": None,
    }
    assert rule_of(entry).as_json()["expires_at"] == "2026-01-02T03:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 604_800), ("7d", 604_800), ("12h", 43_200), ("2 weeks", 1_209_600), ("1.5d", 129_600), ("30 min", 1800)],
)
def test_lifetimes_as_people_write_them(text, seconds):
    assert seconds_of(text) == seconds


def test_a_lifetime_without_end_is_none_for_rucio():
    assert (seconds_of("forever"), for_rucio(FOREVER), for_rucio(59.6)) == (FOREVER, None, 60)


@pytest.mark.parametrize("text", ["0", "-3d", "soon", "7 x 2", "", "5s", "7dogs", "5 miles"])
def test_what_is_no_lifetime(text):
    with pytest.raises(ValueError):
        seconds_of(text)


def test_a_class_is_an_rse_expression():
    assert qos_expression("SAFE") == "QOS=SAFE"


@pytest.mark.parametrize("text", ["", "SAFE|FAST", "a.b", "a b", "QOS=SAFE", "*"])
def test_what_cannot_be_a_class(text):
    with pytest.raises(Failure) as raised:
        qos_expression(text)
    assert raised.value.code == Code.USAGE


def test_what_a_rule_has_left():
    later = datetime.now(UTC) + timedelta(days=1)
    assert (remaining(rule()), remaining(rule(expires_at=later)) in (86_399, 86_400)) == (None, True)


def test_a_rule_about_to_end_leaves_its_successor_a_minute():
    assert remaining(rule(expires_at=datetime.now(UTC) - timedelta(hours=1))) == 60


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rules", "--copies", "2"], "--copies is for changing a rule."),
        (["rules", "--wait"], "--wait is for changing a rule."),
        (["rules", "--qos", "SAFE"], "--qos changes one rule."),
        (["rules", "a:b", "c:d", "--qos", "SAFE"], "--qos changes one rule."),
        (["rules", "a:b", "--qos", "S.AFE"], "'S.AFE' cannot be a class of storage."),
        (["basket", "--resolve", "--make-available"], "--resolve and --make-available exclude each other."),
        (["basket", "--no-wait"], "--lifetime and --no-wait are for --make-available."),
        (["make-available", "a:b", "--lifetime", "soon"], "'soon' is not a time"),
    ],
)
def test_wrong_use_is_code_2_and_a_sentence(arguments, sentence):
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, sentence in result.output) == (2, True), result.output


@pytest.mark.parametrize("name", ["rules", "basket", "make-available"])
def test_help_has_examples_and_exit_codes(name):
    text = CliRunner().invoke(main, [name, "--help"]).output
    assert ("Examples:" in text, "Exit codes:" in text, f"datalake {name}" in text) == (True, True, True)

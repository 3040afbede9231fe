"""`datalake rules` on a real Rucio, as an ordinary account with a token."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import SMALL_QUOTA, RucioLake, running_lake
from support.rule_steps import readable, rules_of, sources, through


def test_rules_are_listed_with_their_state_in_words(alice):
    dataset = alice.make_dataset(n_files=2)
    alice.datalake("make-available", dataset)
    done = alice.datalake("rules", dataset)
    heading, row = done.out.splitlines()
    assert heading.split() == ["RULE", "DATA", "WHERE", "STATE", "KEPT"]
    assert f"{dataset}  EULAKE-1  2 files there  until " in row


def test_rules_are_mine_alone(alice, bob):
    dataset = alice.make_dataset(n_files=1)
    bob.datalake("make-available", dataset)
    assert (alice.datalake("rules", dataset).out, bob.datalake("rules", dataset).out.count(str(dataset))) == ("", 1)


def test_rules_by_pattern_id_and_state(alice):
    dataset = alice.make_dataset(n_files=1)
    alice.datalake("make-available", dataset)
    (rule,) = rules_of(alice, dataset)
    for words in ([f"user.alice:*{dataset.name}"], [rule["id"]], [dataset, "--state", "ok"]):
        assert json.loads(alice.datalake("rules", *words, "--json").out)["id"] == rule["id"]
    assert alice.datalake("rules", dataset, "--state", "STUCK", "--json").out == ""


def test_no_rules_is_no_error(alice):
    done = alice.datalake("rules", "user.alice:nothing*")
    assert (done.code, done.out, done.err.strip()) == (0, "", "You have no such rules.")


# -------------------------------------------------------------------------------------------------------- rules --qos


def test_old_rule_outlives_a_stuck_successor_and_ends_when_that_is_ok(lake, alice):
    """The copies that are there are spared by Rucio's cleaner and reaper until the new ones are there, hands-free."""
    dataset = alice.make_dataset(n_files=2, rse=lake.mounted)
    alice.datalake("make-available", dataset)
    (old,) = rules_of(alice, dataset)
    for rule in lake.root.list_did_rules(dataset.scope, dataset.name):
        if rule["account"] == "root":
            lake.root.update_replication_rule(rule["id"], {"lifetime": 0})
            lake.gone(rule["id"])
    paths = sources(alice, dataset, lake.mounted)
    aside = paths[0].with_name("aside")
    os.rename(paths[0], aside)

    done = alice.datalake("rules", dataset, "--qos", "SAFE", "--lifetime", "forever")
    assert (done.code, f"Rucio ends the rule {old['id']} when the new one is OK." in done.err) == (0, True), done
    (new,) = rules_of(alice, dataset, "QOS=SAFE")
    assert lake.settled(new["id"])["state"] == "STUCK"
    spared = lake.root.get_replication_rule(old["id"])
    assert (spared["child_rule_id"], spared["expires_at"] <= datetime.now(UTC).replace(tzinfo=None)) == (
        new["id"],
        True,
    )
    assert f"until {new['id']} is OK" in alice.datalake("rules", old["id"]).out
    assert paths[1].exists()

    os.rename(aside, paths[0])
    alice.client().update_replication_rule(new["id"], {"boost_rule": True})  # not in half an hour, but now
    lake.until(lambda: lake.root.get_replication_rule(new["id"])["state"] == "OK")
    lake.gone(old["id"])
    assert readable(alice, dataset, lake.remote)
    lake.until(lambda: not any(path.exists() for path in paths), what="the old copies are deleted")
    assert lake.root.get_replication_rule(new["id"])["expires_at"] is None


def test_with_wait_the_new_copies_are_there_at_the_end(lake, alice):
    dataset = alice.make_dataset(n_files=2, rse=lake.mounted)
    alice.datalake("make-available", dataset)
    (old,) = rules_of(alice, dataset)
    done = alice.datalake("rules", old["id"], "--qos", "SAFE", "--wait", "--json")
    new = json.loads(done.out)
    assert (done.code, new["state"], new["rse_expression"]) == (0, "OK", "QOS=SAFE")
    assert abs((rules_of(alice, dataset, "QOS=SAFE")[0]["expires_at"] - old["expires_at"]).total_seconds()) < 60
    lake.gone(old["id"])


def test_second_call_changes_nothing(lake, alice):
    dataset = alice.make_dataset(n_files=1)
    alice.datalake("make-available", dataset)
    (old,) = rules_of(alice, dataset)
    first = alice.datalake("rules", dataset, "--qos", "SAFE")
    lake.gone(old["id"])
    second = alice.datalake("rules", dataset, "--qos", "SAFE")
    assert (second.code, second.out, second.err.strip()) == (0, first.out, f"{dataset} has such a rule already.")


def test_interrupted_between_the_two_steps_a_second_call_completes_it(lake, alice):
    dataset = alice.make_dataset(n_files=1)
    alice.datalake("make-available", dataset)
    (old,) = rules_of(alice, dataset)
    with through(alice) as proxy:
        held = proxy.add(r"^PUT /rules/", "hang", times=1, after=1)  # the first only asks what is permitted
        running = alice.start_datalake("rules", dataset, "--qos", "SAFE")
        assert held.met.wait(30)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
        assert (running.returncode, lake.exists(old["id"])) == (130, True)
        assert alice.datalake("rules", old["id"], "--qos", "SAFE").code == 0
    lake.gone(old["id"])
    assert len(rules_of(alice, dataset)) == 1


def test_class_that_nothing_has_is_code_3_with_those_there_are(alice):
    dataset = alice.make_dataset(n_files=1)
    alice.datalake("make-available", dataset)
    done = alice.datalake("rules", dataset, "--qos", "GOLD")
    assert (done.code, done.err.splitlines()) == (
        3,
        [
            "No storage that takes data is of the class GOLD.",
            "  -> There are: FAST (EULAKE-1); SAFE (DESY-DCACHE); SCRATCH (LAKE-SCRATCHDISK)",
        ],
    )
    (rule,) = rules_of(alice, dataset)
    assert rule["child_rule_id"] is None


def test_more_copies_than_storages_is_code_2(alice):
    dataset = alice.make_dataset(n_files=1)
    alice.datalake("make-available", dataset)
    done = alice.datalake("rules", dataset, "--qos", "SAFE", "--copies", "3")
    assert (done.code, done.err.splitlines()[0]) == (2, "3 copies are asked for, and QOS=SAFE has 1 storage.")


def test_no_quota_in_the_class_leaves_the_old_rule_as_it_is(lake, bob):
    dataset = bob.make_dataset(n_files=3, bytes=SMALL_QUOTA, rse=lake.mounted)
    bob.datalake("make-available", dataset)
    done = bob.datalake("rules", dataset, "--qos", "SAFE")
    (old,) = rules_of(bob, dataset)
    assert (done.code, old["child_rule_id"], old["rse_expression"]) == (5, None, "EULAKE-1")


def test_rules_of_others_are_refused_and_unchanged(alice, bob):
    dataset = alice.make_dataset(n_files=1)
    alice.datalake("make-available", dataset)
    (theirs,) = rules_of(alice, dataset)
    done = bob.datalake("rules", theirs["id"], "--qos", "SAFE")
    assert (done.code, "nothing was changed" in done.err, rules_of(bob, dataset)) == (4, True, [])


def test_unknown_rule_and_data_without_a_rule_are_code_3(alice):
    dataset = alice.make_dataset(n_files=1)
    assert alice.datalake("rules", "0" * 32, "--qos", "SAFE").code == 3
    done = alice.datalake("rules", dataset, "--qos", "SAFE")
    assert (done.code, done.err.splitlines()[0]) == (3, f"You have no rule for {dataset}.")


def test_several_rules_for_the_data_are_named(lake, alice):
    dataset = alice.make_dataset(n_files=1)
    client = alice.client()
    for rse in (lake.mounted, lake.remote):
        client.add_replication_rule([dataset.as_dict()], 1, rse)
    done = alice.datalake("rules", dataset, "--qos", "SAFE")
    assert (done.code, all(rule["id"] in done.err for rule in rules_of(alice, dataset))) == (2, True)


# ------------------------------------------------------------------------------- where Rucio's policy permits less


@pytest.fixture(scope="module")
def strict() -> Iterator[RucioLake]:
    """A Rucio in which alice may add rules and change none, and bob may change the lifetime of his."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        with running_lake(policy="support.stricter_policy") as running:
            yield running


@pytest.fixture
def strict_alice(strict: RucioLake, tmp_path: Path) -> LakeUser:
    return LakeUser(strict, "alice", tmp_path / "strict-alice")


@pytest.fixture
def strict_bob(strict: RucioLake, tmp_path: Path) -> LakeUser:
    return LakeUser(strict, "bob", tmp_path / "strict-bob")


def test_generic_policy_refuses_before_anything_is_changed(strict_alice):
    dataset = strict_alice.make_dataset(n_files=1)
    strict_alice.datalake("make-available", dataset)
    done = strict_alice.datalake("rules", dataset, "--qos", "SAFE")
    assert (done.code, "This Rucio does not let users change or end their own rules" in done.err) == (4, True)
    assert [rule["rse_expression"] for rule in rules_of(strict_alice, dataset)] == ["EULAKE-1"]


def test_generic_policy_lets_a_second_rule_be_added(strict_alice):
    dataset = strict_alice.make_dataset(n_files=1)
    strict_alice.datalake("make-available", dataset)
    done = strict_alice.datalake("rules", dataset, "--qos", "SAFE", "--keep-old")
    assert (done.code, "stays as it is" in done.err) == (0, True), done
    assert {rule["rse_expression"] for rule in rules_of(strict_alice, dataset)} == {"EULAKE-1", "QOS=SAFE"}


def test_generic_policy_leaves_a_taken_rule_its_lifetime(strict_alice):
    dataset = strict_alice.make_dataset(n_files=1)
    strict_alice.datalake("make-available", dataset, "--lifetime", "1d")
    done = strict_alice.datalake("make-available", dataset, "--lifetime", "30d")
    (rule,) = rules_of(strict_alice, dataset)
    assert (done.code, round((rule["expires_at"] - rule["created_at"]).total_seconds() / 86_400)) == (0, 1)


def test_where_a_successor_may_not_be_named_the_old_rule_ends_after_the_waiting(strict, strict_bob):
    dataset = strict_bob.make_dataset(n_files=1, rse=strict.mounted)
    strict_bob.datalake("make-available", dataset)
    (old,) = rules_of(strict_bob, dataset)
    refused = strict_bob.datalake("rules", dataset, "--qos", "SAFE")
    assert (refused.code, "Use --wait" in refused.err, len(rules_of(strict_bob, dataset))) == (4, True, 1)
    done = strict_bob.datalake("rules", dataset, "--qos", "SAFE", "--wait")
    assert (done.code, f"Rucio ends the rule {old['id']}." in done.err) == (0, True), done
    assert readable(strict_bob, dataset, strict.remote)
    strict.gone(old["id"])


def test_there_a_stuck_successor_leaves_the_old_rule_as_it_is(strict, strict_bob):
    dataset = strict_bob.make_dataset(n_files=1, rse=strict.mounted)
    strict_bob.datalake("make-available", dataset)
    (old,) = rules_of(strict_bob, dataset)
    for path in sources(strict_bob, dataset, strict.mounted):
        path.write_bytes(b"damaged")
    done = strict_bob.datalake("rules", dataset, "--qos", "SAFE", "--wait")
    assert (done.code, "a copy arrived damaged" in done.err) == (1, True)
    assert strict.root.get_replication_rule(old["id"])["expires_at"] == old["expires_at"]

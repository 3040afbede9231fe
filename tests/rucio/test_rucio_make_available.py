"""`datalake make-available` on a real Rucio, as an ordinary account with a token."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.rucio_lake import SMALL_QUOTA
from support.rule_steps import readable, rules_of, sources, through

from jupyterhub_dlaas.datalake.client import client as connect
from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import load
from jupyterhub_dlaas.datalake.rules import ask, make_available, wait_for
from jupyterhub_dlaas.datalake.waiting import states


def test_data_come_to_the_mounted_storage(lake, alice):
    dataset = alice.make_dataset(n_files=3)
    done = alice.datalake("make-available", dataset)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{dataset}: 3 files there, kept until ")
    assert readable(alice, dataset, lake.mounted)


def test_several_at_once_one_rule_each(lake, alice):
    datasets = [alice.make_dataset(n_files=n) for n in (1, 2)]
    done = alice.datalake("make-available", *datasets, datasets[0], "--json")
    assert [(one["did"], one["ok"], one["state"]) for one in map(json.loads, done.out.splitlines())] == [
        (str(datasets[0]), 1, "OK"),
        (str(datasets[1]), 2, "OK"),
    ]
    assert [len(rules_of(alice, dataset)) for dataset in datasets] == [1, 1]


def test_lifetime_is_the_catalogues_unless_given(alice):
    dataset, other, third = (alice.make_dataset(n_files=1) for _ in range(3))
    alice.datalake("make-available", dataset, "--no-wait")
    alice.datalake("make-available", other, "--no-wait", "--lifetime", "12h")
    alice.datalake("make-available", third, "--no-wait", "--lifetime", "forever")
    (rule,), (short,), (endless,) = (rules_of(alice, one) for one in (dataset, other, third))
    days = (rule["expires_at"] - rule["created_at"]).total_seconds() / 86_400
    hours = (short["expires_at"] - short["created_at"]).total_seconds() / 3600
    assert (round(days, 1), round(hours, 1), endless["expires_at"]) == (7, 12, None)


def test_second_call_says_so_and_makes_no_second_rule(alice):
    dataset = alice.make_dataset(n_files=1)
    alice.datalake("make-available", dataset)
    done = alice.datalake("make-available", dataset)
    assert (done.code, done.err.strip()) == (0, "It can be read here already.")
    assert len(rules_of(alice, dataset)) == 1


def test_second_call_makes_the_rule_last_longer_but_never_shorter(alice):
    dataset = alice.make_dataset(n_files=1)
    for lifetime in ("2d", "20d", "1h"):
        assert alice.datalake("make-available", dataset, "--lifetime", lifetime).code == 0
    (rule,) = rules_of(alice, dataset)
    assert round((rule["expires_at"] - rule["created_at"]).total_seconds() / 86_400) == 20
    alice.datalake("make-available", dataset, "--lifetime", "forever")
    assert rules_of(alice, dataset)[0]["expires_at"] is None


def test_without_waiting_the_state_is_said(alice):
    dataset = alice.make_dataset(n_files=2)
    done = alice.datalake("make-available", dataset, "--no-wait")
    assert (done.code, "of 2 files there" in done.out or "2 files there" in done.out) == (0, True), done


def test_many_rules_are_looked_at_in_one_list_whoevers_they_are(lake, alice):
    dataset = alice.make_dataset(n_files=25)
    names = [f"{dataset}.{number:05d}" for number in range(25)]
    done = alice.datalake("make-available", *names)
    assert (done.code, len(done.out.splitlines())) == (0, 25), done
    (of_root,) = lake.root.list_did_rules(dataset.scope, dataset.name)
    mine = [rule["id"] for name in names for rule in rules_of(alice, DID(alice.scope, name.partition(":")[2]))]
    with through(alice) as proxy:
        found = states(connect(environ=alice.environ), [*mine, of_root["id"]])
        assert len([line for line in proxy.requests if line.startswith("GET /rules")]) == 2
    assert (len(found), found[of_root["id"]].account) == (26, "root")


def test_two_terminals_at_once_make_one_rule(alice):
    datasets = [alice.make_dataset(n_files=1) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(lambda _: alice.datalake("make-available", *datasets), range(3)))
    assert [end.code for end in ends] == [0, 0, 0], ends
    assert [len(rules_of(alice, dataset)) for dataset in datasets] == [1, 1, 1]


def test_dids_from_standard_input(alice):
    datasets = [alice.make_dataset(n_files=1) for _ in range(2)]
    done = alice.datalake("make-available", "-", input="".join(f"{dataset}\n" for dataset in datasets))
    assert (done.code, len(done.out.splitlines())) == (0, 2), done


def test_no_dids_on_standard_input_is_code_3(alice):
    done = alice.datalake("make-available", "-", input="")
    assert (done.code, done.err.splitlines()[0]) == (3, "No DIDs were given.")


def test_too_many_dids_are_refused_before_anything_is_asked_for(alice):
    done = alice.datalake("make-available", "-", input="".join(f"user.alice:f{n}\n" for n in range(10_001)))
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "These are more than 10,000 DIDs, and Rucio would need a rule for each.",
    )


def test_empty_dataset_is_said_to_be_empty(lake, alice):
    name = alice.name_of("empty")
    lake.root.add_dataset(alice.scope, name)
    done = alice.datalake("make-available", f"{alice.scope}:{name}")
    assert (done.code, "no files in it" in done.out) == (0, True)


def test_unknown_did_leaves_the_others_alone(alice):
    dataset = alice.make_dataset(n_files=1)
    done = alice.datalake("make-available", dataset, "user.alice:nothing")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("Rucio does not know user.alice:nothing.\n  -> ")
    assert rules_of(alice, dataset) == []


def test_what_is_no_did_is_code_2(alice):
    done = alice.datalake("make-available", "dl1")
    assert (done.code, done.err.splitlines()[0]) == (2, "'dl1' is not a DID, which has a scope and a name.")


def test_where_nothing_is_mounted_download_is_named(alice):
    alice.change_instance(mode="download", destination_rse=None, mount=None)
    done = alice.datalake("make-available", "user.alice:x")
    assert (done.code, "datalake download" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["no such thing", "über", "a#b%20?c&d", "a\nb", "x" * 400])
def test_names_that_rucio_cannot_have_are_a_sentence(alice, name):
    for arguments in (["make-available", f"user.alice:{name}"], ["rules", f"user.alice:{name}", "--qos", "SAFE"]):
        done = alice.datalake(*arguments)
        assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 2), done


def test_source_gone_is_stuck_with_rucios_reason(lake, alice):
    dataset, fine = alice.make_dataset(n_files=2), alice.make_dataset(n_files=1)
    sources(alice, dataset, lake.remote)[0].unlink()
    done = alice.datalake("make-available", dataset, fine)
    assert (done.code, "1 of 2 files there, 1 stuck" in done.out, f"{fine}: 1 file there" in done.out) == (
        1,
        True,
        True,
    )
    assert f"{dataset} is stuck on its way to EULAKE-1" in done.err
    assert "the file is gone at the storage that has it (Rucio says: cannot copy" in done.err
    assert f"first {dataset}.00000" in done.err or f"first {dataset}.00001" in done.err
    assert "Traceback" not in done.err


def test_damaged_source_is_stuck_and_never_ok(lake, alice):
    dataset = alice.make_dataset(n_files=1)
    (path,) = sources(alice, dataset, lake.remote)
    path.write_bytes(bytes(path.stat().st_size))
    done = alice.datalake("make-available", dataset, "--json")
    assert (done.code, json.loads(done.out)["state"]) == (1, "STUCK")
    assert "a copy arrived damaged (Rucio says: " in done.err


def test_second_call_makes_rucio_try_again(lake, alice):
    dataset = alice.make_dataset(n_files=1)
    (path,) = sources(alice, dataset, lake.remote)
    aside = path.with_name("aside")
    path.rename(aside)
    assert alice.datalake("make-available", dataset).code == 1
    aside.rename(path)
    assert alice.datalake("make-available", dataset, "--no-wait").code in {0, 1}  # stuck still, or begun already
    (rule,) = rules_of(alice, dataset)
    lake.until(lambda: lake.root.get_replication_rule(rule["id"])["state"] == "OK")


def test_no_quota_is_code_5_with_numbers(lake, bob):
    dataset = bob.make_dataset(n_files=3, bytes=SMALL_QUOTA, rse=lake.mounted)
    bob.change_instance(destination_rse=lake.remote)
    done = bob.datalake("make-available", dataset)
    assert (done.code, rules_of(bob, dataset)) == (5, [])
    assert "of 1.0 MB used on DESY-DCACHE; these data need 3.1 MB." in done.err


def test_without_quota_what_others_keep_there_can_be_read(lake, bob):
    dataset = bob.make_dataset(n_files=3, bytes=SMALL_QUOTA, rse=lake.remote)
    bob.change_instance(destination_rse=lake.remote)
    done = bob.datalake("make-available", dataset)
    assert (done.code, done.out.strip(), rules_of(bob, dataset)) == (
        0,
        f"{dataset}: 3 files there, kept without end by root",
        [],
    )


# ------------------------------------------------------------------------------------------------ faults on the way


def test_outage_during_the_waiting_is_waited_for(alice):
    dataset = alice.make_dataset(n_files=1)
    with through(alice) as proxy:
        proxy.add(r"^GET /rules/[0-9a-f]{32}", 502, times=6)  # one more than the client tries by itself
        client = connect(environ=alice.environ)
        client.pauses = (0.01,) * 4
        troubles: list[Failure] = []
        (rule,) = ask(client, load(alice.environ).instance(), [dataset])
        (end,) = wait_for(client, [rule], on_trouble=troubles.append)
    assert (end.state, [trouble.code for trouble in troubles]) == ("OK", [Code.UNREACHABLE])


def test_command_tells_of_an_outage_and_goes_on(alice):
    dataset = alice.make_dataset(n_files=1)
    with through(alice) as proxy:
        proxy.add(r"^GET /rules/[0-9a-f]{32}", 500, times=2)
        done = alice.datalake("make-available", dataset)
    assert (done.code, done.out.startswith(f"{dataset}: 1 file there")) == (0, True), done
    assert done.err.count("The rules are not affected; waiting goes on.") == 1


def test_silence_of_rucio_ends(alice):
    dataset = alice.make_dataset(n_files=1)
    with through(alice) as proxy:
        proxy.add(r"^GET /rules/[0-9a-f]{32}", "hang")
        client = connect(environ=alice.environ, timeout=0.5)
        (rule,) = ask(client, load(alice.environ).instance(), [dataset])
        with pytest.raises(Failure) as raised:
            wait_for(client, [rule], patience_seconds=0)
    assert (raised.value.code, "does not answer" in raised.value.sentence) == (Code.UNREACHABLE, True)


def test_expired_token_during_the_waiting_is_waited_for(alice):
    dataset = alice.make_dataset(n_files=1)
    client = connect(environ=alice.environ)
    (rule,) = ask(client, load(alice.environ).instance(), [dataset])
    alice.spoil_token("expired")
    troubles: list[Failure] = []

    def renewed_by_the_hub(trouble: Failure) -> None:
        troubles.append(trouble)
        alice.renew()

    (end,) = wait_for(client, [rule], on_trouble=renewed_by_the_hub)
    assert (end.state, [trouble.code for trouble in troubles]) == ("OK", [Code.REFUSED])


def test_refused_token_is_code_4(alice):
    alice.spoil_token("garbage")
    done = alice.datalake("make-available", "user.alice:x")
    assert (done.code, "does not accept your sign-in" in done.err, "eyJ" in done.err) == (4, True, False)


def test_rule_removed_during_the_waiting_is_a_sentence(lake, alice):
    dataset = alice.make_dataset(n_files=1)
    client = connect(environ=alice.environ)
    (rule,) = ask(client, load(alice.environ).instance(), [dataset])
    lake.root.update_replication_rule(rule, {"lifetime": 0})
    lake.gone(rule)
    with pytest.raises(Failure) as raised:
        wait_for(client, [rule])
    assert (raised.value.code, raised.value.sentence.startswith(f"Rucio no longer has the rule {rule}")) == (3, True)


@pytest.mark.parametrize(
    ("stage", "fault"),
    [
        (r"^POST /dids/bulkmeta", "hang"),
        (r"^GET /rules/\?", "hang"),
        (r"^POST /rules/", "hang"),
        (r"^POST /rules/", "hang-after"),
        (r"^GET /rules/[0-9a-f]{32}", "hang"),
    ],
)
def test_ctrl_c_at_every_stage_and_a_second_call_goes_on(alice, stage, fault):
    dataset = alice.make_dataset(n_files=1)
    with through(alice) as proxy:
        held = proxy.add(stage, fault, times=1)
        running = alice.start_datalake("make-available", dataset)
        assert held.met.wait(30)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert (running.returncode, "Traceback" in err, "The same command goes on" in err) == (130, False, True), err
        done = alice.datalake("make-available", dataset)
    assert (done.code, len(rules_of(alice, dataset))) == (0, 1), done


def test_functions_take_plain_arguments(alice):
    dataset = alice.make_dataset(n_files=1)
    seen: list[int] = []
    (rule,) = make_available(
        connect(environ=alice.environ),
        load(alice.environ).instance(),
        [dataset],
        lifetime_days=1,
        on_progress=lambda rules: seen.append(sum(one.ok for one in rules)),
    )
    assert (rule.did, rule.ok, seen[-1]) == (dataset, 1, 1)

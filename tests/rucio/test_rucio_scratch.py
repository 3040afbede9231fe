"""What `datalake upload` and `datalake rules` rely on in Rucio itself: files in place, real copies, and their end.

All as an ordinary account with a token, on the generic policy with the package of `config/rucio`.
"""

from __future__ import annotations

import pytest
from rucio.common.exception import InsufficientAccountLimit
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake
from support.scratch_steps import ask, refused, register, rule_to


def hand_over(user: LakeUser, old: str, new: str) -> None:
    """The old rule goes when the new one is OK. One request, so that there is no moment between the two."""
    user.client().update_replication_rule(old, {"child_rule_id": new, "lifetime": 0})


def test_a_file_is_registered_where_it_lies_and_copied_to_another_site(lake: RucioLake, alice: LakeUser) -> None:
    dataset, (name,), _ = register(alice, {"run/a.dat": b"a" * 5000})
    rule = rule_to(alice, "QOS=SAFE", dataset)
    assert lake.settled(rule)["state"] == "OK"
    assert lake.path(lake.scratch, alice.scope, name) == alice.scratch / "run/a.dat"
    assert lake.path(lake.remote, alice.scope, name).read_bytes() == b"a" * 5000


@pytest.mark.parametrize("name", ["a b.dat", "größe.dat", "100%.dat", "a%20b.dat", "a&b=c;d.dat", "it's.dat"])
def test_any_file_name_that_an_address_may_have_is_found_again(lake: RucioLake, alice: LakeUser, name: str) -> None:
    # The PFN is the path as it is: Rucio quotes and unquotes nothing.
    dataset, (did_name,), old = register(alice, {name: b"content"})
    new = rule_to(alice, lake.mounted, dataset)
    hand_over(alice, old, new)
    assert lake.settled(new)["state"] == "OK"
    assert lake.path(lake.mounted, alice.scope, did_name).read_bytes() == b"content"
    lake.until(lambda: not (alice.scratch / name).exists(), what="the scratch copy goes")


@pytest.mark.parametrize(("name", "remembered"), [("a#b", "a"), ("a?b", "a"), ("a\nb", "ab"), ("a\tb", "ab")])
def test_some_characters_make_rucio_remember_another_file(
    lake: RucioLake, alice: LakeUser, name: str, remembered: str
) -> None:
    # Rucio takes a PFN apart with urllib.parse: what follows # or ? is no path, and line ends are dropped. And it
    # unquotes nothing, so writing them as %23 would not help. Such a file can only be uploaded under another name.
    _, (did_name,), _ = register(alice, {name: b"content"})
    assert lake.path(lake.scratch, alice.scope, did_name) == alice.scratch / remembered


def test_the_scratch_copy_stays_until_the_other_is_ok_and_then_goes_from_disk(lake: RucioLake, alice: LakeUser) -> None:
    dataset, names, old = register(alice, {"a.dat": b"a" * 100, "b.dat": b"b" * 100})
    (alice.scratch / "b.dat").rename(alice.scratch / "hidden")
    new = rule_to(alice, lake.remote, dataset)
    hand_over(alice, old, new)
    assert lake.settled(new)["state"] == "STUCK"
    assert lake.exists(old)  # although its lifetime is over
    assert (alice.scratch / "a.dat").exists()

    (alice.scratch / "hidden").rename(alice.scratch / "b.dat")
    alice.client().update_replication_rule(new, {"boost_rule": True})  # not in half an hour, but now
    lake.until(lambda: lake.root.get_replication_rule(new)["state"] == "OK", what="the repaired rule is OK")
    lake.gone(old)
    lake.until(lambda: not any(alice.scratch.iterdir()), what="the scratch copies go")
    assert [lake.path(lake.remote, alice.scope, name).read_bytes() for name in names] == [b"a" * 100, b"b" * 100]


def test_a_rule_that_is_ok_already_lets_the_other_go_at_once(lake: RucioLake, alice: LakeUser) -> None:
    dataset, _, old = register(alice, {"a.dat": b"a"})
    new = rule_to(alice, lake.remote, dataset)
    assert lake.settled(new)["state"] == "OK"
    hand_over(alice, old, new)
    lake.gone(old)


def test_without_the_new_rule_the_scratch_rule_stays_for_ever(lake: RucioLake, alice: LakeUser) -> None:
    dataset, _, old = register(alice, {"a.dat": b"a"})
    (alice.scratch / "a.dat").rename(alice.scratch / "hidden")
    new = rule_to(alice, lake.remote, dataset)
    hand_over(alice, old, new)
    alice.client().delete_replication_rule(new)  # in an hour: so that one can think better of it
    alice.client().update_replication_rule(new, {"lifetime": 0})
    lake.gone(new)
    assert lake.root.get_replication_rule(old)["expires_at"] is None


def test_a_class_of_storage_is_changed_without_losing_the_data(lake: RucioLake, alice: LakeUser) -> None:
    dataset, (name,), scratch = register(alice, {"a.dat": b"a" * 50})
    fast = rule_to(alice, "QOS=FAST", dataset)
    hand_over(alice, scratch, fast)
    assert lake.settled(fast)["state"] == "OK"
    here = lake.path(lake.mounted, alice.scope, name)
    safe = rule_to(alice, "QOS=SAFE", dataset)
    hand_over(alice, fast, safe)
    lake.gone(fast)
    lake.until(lambda: not here.exists(), what="the fast copy goes")
    assert lake.path(lake.remote, alice.scope, name).read_bytes() == b"a" * 50


def test_nobody_changes_the_rule_of_another(lake: RucioLake, alice: LakeUser, bob: LakeUser) -> None:
    _, _, rule = register(alice, {"a.dat": b"a"})
    assert refused(bob, "PUT", f"rules/{rule}", {"options": {"lifetime": 0}})
    assert refused(bob, "DELETE", f"rules/{rule}", {"purge_replicas": None})


@pytest.mark.parametrize("options", [{"locked": True}, {"account": "bob"}, {"state": "OK"}, {"priority": 5}])
def test_owning_a_rule_is_no_way_around_quota_or_queue(alice: LakeUser, options: dict[str, object]) -> None:
    _, _, rule = register(alice, {"a.dat": b"a"})
    assert refused(alice, "PUT", f"rules/{rule}", {"options": options})
    assert refused(alice, "PUT", f"rules/{rule}", {"options": {"lifetime": 60, **options}})


def test_a_rule_that_does_not_exist_is_not_found(alice: LakeUser) -> None:
    answer = ask(alice, "PUT", "rules/" + "0" * 32, {"options": {"lifetime": 0}})
    assert (answer[0], answer[1]) == (404, "RuleNotFound")


def test_the_scope_of_another_and_other_storage_are_closed(lake: RucioLake, alice: LakeUser, bob: LakeUser) -> None:
    (path,) = alice.write_scratch({"a.dat": b"a"})
    pfn = f"file://localhost{path}"
    file = {"name": alice.name_of("file"), "bytes": 1, "adler32": "00620062", "pfn": pfn}
    assert refused(alice, "POST", "replicas", {"rse": lake.scratch, "files": [{**file, "scope": bob.scope}]})
    del file["pfn"]
    assert refused(alice, "POST", "replicas", {"rse": lake.remote, "files": [{**file, "scope": alice.scope}]})


def test_a_full_quota_is_said_when_the_rule_is_made(lake: RucioLake, bob: LakeUser) -> None:
    dataset, _, _ = register(bob, {"a.dat": bytes(2**20 + 1)})
    with pytest.raises(InsufficientAccountLimit):
        rule_to(bob, lake.remote, dataset)


def test_what_is_used_counts_against_the_quota(lake: RucioLake, bob: LakeUser) -> None:
    def used() -> int:
        (entry,) = bob.client().get_local_account_usage("bob", lake.remote)
        return int(entry["bytes"])

    before = used()
    dataset, _, _ = register(bob, {"a.dat": bytes(1000)})
    rule = rule_to(bob, lake.remote, dataset)
    lake.until(lambda: used() == before + 1000, what="the counter is brought up to date")
    bob.client().update_replication_rule(rule, {"lifetime": 0})
    lake.until(lambda: used() == before, what="the counter goes down again")


def test_what_has_no_rule_any_more_goes_from_the_mounted_storage(lake: RucioLake, alice: LakeUser) -> None:
    did = alice.make_dataset(2, 200)
    rule = rule_to(alice, lake.mounted, did.name)
    assert lake.settled(rule)["state"] == "OK"
    there = [lake.path(lake.mounted, alice.scope, file["name"]) for file in alice.client().list_files(*did_of(did))]
    assert all(path.is_relative_to(alice.mount) and path.exists() for path in there)
    alice.client().update_replication_rule(rule, {"lifetime": 0})
    lake.until(lambda: not any(path.exists() for path in there), what="the copies go")


def test_a_corrupt_source_is_never_ok(lake: RucioLake, alice: LakeUser) -> None:
    dataset, _, _ = register(alice, {"a.dat": b"a" * 100})
    (alice.scratch / "a.dat").write_bytes(b"x" * 100)
    rule = lake.settled(rule_to(alice, lake.remote, dataset))
    assert rule["state"] == "STUCK"
    assert "adler32" in rule["error"]


def did_of(did: object) -> list[str]:
    return str(did).split(":")


def test_who_may_register_at_a_scratch_rse_reaches_every_file_below_its_prefix(
    lake: RucioLake, alice: LakeUser, bob: LakeUser
) -> None:
    # A limit of Rucio, whose permission to add replicas is not told which paths they are; transfers and the reaper work
    # with rights of their own. So a scratch RSE is for people who may reach each other's files there.
    (path,) = alice.write_scratch({"hers.dat": b"secret"})
    name = bob.name_of("file")
    pfn = f"file://localhost{path}"
    bob.client().add_replicas(
        lake.scratch, [{"scope": bob.scope, "name": name, "bytes": 6, "adler32": "08a3028a", "pfn": pfn}]
    )
    assert lake.path(lake.scratch, bob.scope, name) == path

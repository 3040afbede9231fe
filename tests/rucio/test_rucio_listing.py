"""`datalake ls`, `find`, `info`, `pfn` and `status` on a real Rucio."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake

from jupyterhub_dlaas.datalake.dids import DID


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_ls_without_a_name_has_my_scopes(alice: LakeUser):
    assert alice.datalake("ls").out == "user.alice\n"


def test_ls_with_a_pattern_has_the_scopes_that_match(alice: LakeUser):
    assert alice.datalake("ls", "user.b*").out == "user.bob\n"


def test_ls_of_a_scope_has_its_collections_unless_told_otherwise(alice: LakeUser):
    dataset = alice.make_dataset(2)
    assert str(dataset) in [entry["did"] for entry in lines(alice.datalake("ls", alice.scope, "--json").out)]
    everything = [entry["did"] for entry in lines(alice.datalake("ls", alice.scope, "--type", "file", "--json").out)]
    assert {f"{dataset}.00000", f"{dataset}.00001"} <= set(everything)


def test_ls_of_a_dataset_has_its_files(alice: LakeUser):
    dataset = alice.make_dataset(2)
    assert lines(alice.datalake("ls", dataset, "--json").out) == [
        {"did": f"{dataset}.0000{number}", "type": "file", "bytes": 1000, "files": None} for number in (0, 1)
    ]


def test_ls_prints_a_table_for_people(alice: LakeUser):
    dataset = alice.make_dataset(1)
    heading, row = alice.datalake("ls", dataset).out.splitlines()
    assert heading.split() == ["DID", "TYPE", "SIZE", "FILES"]
    assert row.split() == [f"{dataset}.00000", "file", "1.0", "kB"]


def test_find_takes_wildcards_in_scope_and_name(alice: LakeUser, bob: LakeUser):
    mine, other = alice.make_dataset(1), bob.make_dataset(1)
    found = [entry["did"] for entry in lines(alice.datalake("find", f"user.*:*{mine.name}", "--json").out)]
    assert found == [str(mine)]
    both = alice.datalake("find", "user.*:dataset-*", "--type", "dataset", "--json").out
    assert {str(mine), str(other)} <= {entry["did"] for entry in lines(both)}


def test_find_by_metadata_needs_all_conditions(alice: LakeUser):
    small, large = alice.make_dataset(1, bytes=10), alice.make_dataset(1, bytes=50_000)
    pattern, unique = f"{alice.scope}:dataset-{alice.unique}*", ("--type", "file", "--json")
    found = alice.datalake("find", pattern, "--where", "bytes>1000", *unique).out
    assert [entry["did"] for entry in lines(found)] == [f"{large}.00000"]
    found = alice.datalake("find", pattern, "--where", "bytes<1000", "--where", "bytes>5", *unique).out
    assert [entry["did"] for entry in lines(found)] == [f"{small}.00000"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["find", "user.alice:nothing-*"], 3, "Nothing was found."),
        (["find", "user.nobody:*"], 3, "Rucio has no scope 'user.nobody'."),
        (["find", "user.alice"], 2, "'user.alice' is not a pattern, which has a scope and a name."),
        (["find", "user.alice:*", "--where", "bytes"], 2, "Rucio does not understand the condition 'bytes'."),
        (["find", "user.alice:*", "--where", "a=1;b=2"], 2, "The condition 'a=1;b=2' holds two."),
        (
            ["find", "user.alice:*", "--where", "sky=blue"],
            2,
            "Rucio says: There is no metadata plugin that manages the filter key(s) you requested.",
        ),
        (["ls", "user.nobody"], 3, "Rucio has no scope 'user.nobody'."),
        (["ls", "user.alice:nope"], 3, "Rucio does not know user.alice:nope."),
        (["info", "user.alice:nope"], 3, "Rucio does not know user.alice:nope."),
        (["info", "nope"], 2, "'nope' is not a DID, which has a scope and a name."),
        (["pfn", "user.alice:nope"], 3, "Rucio does not know user.alice:nope."),
        (["ls", "-i", "cta"], 2, "This server has no Rucio instance 'cta'."),
    ],
)
def test_wrong_question_is_one_sentence_and_its_code(alice: LakeUser, arguments, code, sentence):
    done = alice.datalake(*arguments)
    assert (done.code, done.out, done.err.splitlines()[0]) == (code, "", sentence)


@pytest.mark.parametrize("command", ["ls", "find", "info", "pfn"])
@pytest.mark.parametrize("kind", ["expired", "garbage"])
def test_refused_token_is_said_with_advice_and_without_a_prompt(alice: LakeUser, command, kind):
    alice.spoil_token(kind)
    done = alice.datalake(command, "user.alice:x")
    assert (done.code, done.out, len(done.err.splitlines())) == (4, "", 2), done
    assert "eyJ" not in done.err


def test_info_of_a_dataset_has_copies_quality_rules_and_what_to_do(alice: LakeUser, lake: RucioLake):
    dataset = alice.make_dataset(2)
    told = json.loads(alice.datalake("info", dataset, "--json").out)
    assert (told["type"], told["files"], told["bytes"], told["account"]) == ("dataset", 2, 2000, "root")
    assert told["places"] == [{"rse": lake.remote, "qos": "SAFE", "files": 2, "bytes": 2000}]
    assert [(rule["rse_expression"], rule["words"]) for rule in told["rules"]] == [(lake.remote, "2 files there")]
    assert f"datalake make-available {dataset}" in told["here"]["words"]


def test_info_of_a_file_here_has_its_path(alice: LakeUser, lake: RucioLake):
    dataset = alice.make_dataset(1, rse=lake.mounted)
    done = alice.datalake("info", f"{dataset}.00000")
    assert str(lake.path(lake.mounted, dataset.scope, f"{dataset.name}.00000")) in done.out
    assert "FAST" in done.out


def test_info_of_a_container_counts_what_is_in_its_datasets(alice: LakeUser, lake: RucioLake):
    name, datasets = alice.name_of("container"), [alice.make_dataset(1), alice.make_dataset(2, rse=lake.mounted)]
    lake.root.add_container(alice.scope, name)
    lake.root.attach_dids(alice.scope, name, [dataset.as_dict() for dataset in datasets])
    told = json.loads(alice.datalake("info", f"{alice.scope}:{name}", "--json").out)
    assert [(place["rse"], place["files"]) for place in told["places"]] == [(lake.remote, 1), (lake.mounted, 2)]
    assert (told["files"], told["here"]["words"][:20]) == (3, "2 of 3 files are on ")


def test_info_of_what_nobody_has_says_so(alice: LakeUser, lake: RucioLake):
    name = alice.name_of("empty")
    lake.root.add_dataset(alice.scope, name)
    assert "From here: nowhere, no storage has a copy." in alice.datalake("info", f"{alice.scope}:{name}").out


def test_pfn_has_a_line_per_file(alice: LakeUser, lake: RucioLake):
    dataset = alice.make_dataset(2)
    done = alice.datalake("pfn", dataset)
    assert done.out.splitlines() == [
        f"file://localhost{lake.path(lake.remote, dataset.scope, f'{dataset.name}.0000{number}')}" for number in (0, 1)
    ]


def test_pfn_by_a_protocol_that_no_storage_speaks_has_none(alice: LakeUser):
    dataset = alice.make_dataset(1)
    done = alice.datalake("pfn", dataset, "--scheme", "root")
    assert (done.code, done.out) == (3, "")
    assert f"{dataset}.00000: no storage has it by these means" in done.err


def test_pfn_of_one_storage_alone(alice: LakeUser, lake: RucioLake):
    here, there = alice.make_dataset(1, rse=lake.mounted), alice.make_dataset(1)
    done = alice.datalake("pfn", here, there, "--rse", "QOS=FAST", "--json")
    entries = {entry["did"]: entry["rses"] for entry in lines(done.out)}
    assert (done.code, entries[f"{here}.00000"]) == (1, [lake.mounted]), done.err


@pytest.fixture
def site_with_a_door(lake: RucioLake, alice: LakeUser):
    """An RSE with a root door for a file, and a site CACHED whose readers go through a cache."""
    rse = alice.name_of("DOOR").upper()
    lake.root.add_rse(rse)
    domains = {domain: {"read": 1, "write": 1, "delete": 1} for domain in ("lan", "wan")}
    for scheme, port in (("root", 1094), ("https", 443)):
        prefix = "//data/" if scheme == "root" else "/data/"
        about = {"hostname": "door.example.org", "port": port, "prefix": prefix, "domains": domains, "scheme": scheme}
        lake.root.add_protocol(rse, {**about, "impl": "rucio.rse.protocols.mock.Default", "extended_attributes": None})
    lake.root.set_config_option("root-proxy-internal", "CACHED", "cache.example.org:1094")
    name = alice.name_of("file")
    lake.root.add_replicas(rse, [{"scope": alice.scope, "name": name, "bytes": 1, "adler32": "00000001"}])
    return DID(alice.scope, name)


def test_pfn_leads_a_site_with_a_cache_through_it_and_others_straight(alice: LakeUser, site_with_a_door: DID):
    direct = alice.datalake("pfn", site_with_a_door, "--scheme", "root")
    assert direct.out.startswith("root://door.example.org:1094//data/"), direct
    cached = alice.datalake("pfn", site_with_a_door, "--scheme", "root", "--site", "CACHED")
    assert cached.out == f"root://cache.example.org:1094//{direct.out}"


def test_pfn_by_https_and_all(alice: LakeUser, site_with_a_door: DID):
    https = alice.datalake("pfn", site_with_a_door, "--scheme", "https").out
    assert https.startswith("https://door.example.org:443/data/")
    assert https in alice.datalake("pfn", site_with_a_door, "--all").out


def test_status_has_account_and_quotas(alice: LakeUser, bob: LakeUser, lake: RucioLake):
    told = json.loads(bob.datalake("status", "--json").out)
    quotas = {entry["rse"]: entry["limit"] for entry in told["quotas"]}
    assert (told["rucio"][0]["account"], quotas[lake.remote]) == ("bob", 2**20)
    assert f"Quota at {lake.remote}" in alice.datalake("status").out


def test_status_names_the_cache(alice: LakeUser):
    alice.change_lake(xcache_site="CERN-XCACHE")
    assert "CERN-XCACHE" in alice.datalake("status").out


@pytest.mark.parametrize("command", ["ls", "find", "path", "pfn"])
def test_answer_that_nobody_reads_on_is_no_error(alice: LakeUser, command):
    process = alice.start_datalake(command, alice.make_dataset(1, rse=alice.lake.mounted))  # type: ignore[attr-defined]
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors

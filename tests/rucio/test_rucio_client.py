"""`client()` against a real Rucio: it lives as long as its process, and says in words why it may not go on."""

from __future__ import annotations

import pytest
import requests
from rucio.common.exception import AccessDenied, RucioException
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake

from jupyterhub_dlaas.datalake.client import client
from jupyterhub_dlaas.datalake.dids import DID, files
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of


def test_kernel_goes_on_after_a_renewal(alice: LakeUser):
    rucio = client(environ=alice.environ)
    assert rucio.whoami()["account"] == "alice"
    alice.spoil_token("expired")
    with pytest.raises(Failure, match="expired"):
        rucio.whoami()
    alice.renew()
    assert rucio.whoami()["account"] == "alice"


@pytest.mark.parametrize("kind", ["expired", "garbage"])
def test_refused_token_is_a_failure_in_a_second_and_no_prompt(alice: LakeUser, kind, capfd):
    alice.spoil_token(kind)
    with pytest.raises(Failure) as caught:
        client(environ=alice.environ).whoami()
    assert (caught.value.code, capfd.readouterr()) == (Code.REFUSED, ("", ""))


def test_missing_permission_is_rucios_own_word_and_no_prompt(alice: LakeUser):
    with pytest.raises(AccessDenied) as caught:
        client(environ=alice.environ).add_rse("MINE")
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.code is Code.REFUSED


def test_everything_else_of_rucios_client_works(alice: LakeUser):
    """The requests of every kind go through ours: GET, POST, PUT, DELETE and lists."""
    rucio, name = client(environ=alice.environ), alice.name_of("own")
    rucio.add_dataset(alice.scope, name)
    rucio.set_metadata(alice.scope, name, "project", "a b+c")
    rucio.close(alice.scope, name)
    assert rucio.get_metadata(alice.scope, name)["project"] == "a b+c"
    assert name in list(rucio.list_dids(alice.scope, [{"name": f"{name}*"}]))
    (rule,) = rucio.add_replication_rule([{"scope": alice.scope, "name": name}], 1, alice.lake.remote)
    rucio.update_replication_rule(rule, {"lifetime": 3600})
    rucio.delete_replication_rule(rule)


def test_files_of_many_dids_are_each_told_once(alice: LakeUser):
    first, second = alice.make_dataset(2), alice.make_dataset(2)
    one = DID(first.scope, f"{first.name}.00001")
    names = [file.did.name for file in files(client(environ=alice.environ), [first, one, second, first])]
    assert sorted(names) == sorted(f"{dataset.name}.0000{n}" for dataset in (first, second) for n in (0, 1))


def test_empty_dataset_among_others_has_no_files_and_an_unknown_one_is_named(alice: LakeUser):
    dataset, empty = alice.make_dataset(1), DID(alice.scope, alice.name_of("empty"))
    alice.lake.root.add_dataset(*vars(empty).values())
    rucio = client(environ=alice.environ)
    assert len(list(files(rucio, [empty, dataset]))) == 1
    with pytest.raises(Failure, match=r"Rucio does not know user.alice:nope") as caught:
        list(files(rucio, [dataset, DID("user.alice", "nope")]))
    assert caught.value.code is Code.NOT_FOUND


def test_checksums_come_with_the_files(alice: LakeUser):
    (file,) = files(client(environ=alice.environ), [alice.make_dataset(1, bytes=77)])
    assert file.bytes == 77
    assert file.adler32 is not None
    assert len(file.adler32) == 8


def test_list_that_nobody_reads_does_not_keep_the_server(alice: LakeUser, lake: RucioLake):
    """It has one worker: left at the server, the first list would hold up the second request until it timed out."""
    dataset = alice.make_dataset(3)
    rucio = client(environ=alice.environ, timeout=1)
    listed = rucio.list_replicas([dataset.as_dict()])
    rucio.whoami()
    assert len(list(listed)) == 3


def test_rucio_that_is_gone_is_unreachable(alice: LakeUser, unused_tcp_port: int):
    alice.change_instance(rucio_host=f"http://127.0.0.1:{unused_tcp_port}")
    rucio = client(environ=alice.environ)
    rucio.pauses = (0.0,)
    with pytest.raises((requests.ConnectionError, RucioException)) as caught:
        rucio.whoami()
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.code is Code.UNREACHABLE

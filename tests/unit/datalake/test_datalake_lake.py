"""`datalake.json` becomes a Lake, and whatever is wrong with it a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundle_samples import choice, in_an_hour, tokens, write

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Lake, StorageToken, load


@pytest.fixture
def rendered(tmp_path: Path) -> Lake:
    """As the hub renders it."""
    places = write(tmp_path, choice(), tokens(expires_at=in_an_hour()))
    return load({"DLAAS_DIR": places.files_dir})


def test_instances_are_in_their_order_with_their_own_tokens(rendered, tmp_path):
    assert [(entry.name, entry.mode, entry.token) for entry in rendered.instances] == [
        ("escape", "replica", tmp_path / "dlaas" / "tokens" / "rucio"),
        ("ska", "download", tmp_path / "dlaas" / "tokens" / "ska-rucio"),
    ]


def test_mounted_instance_has_its_mount(rendered):
    first = rendered.instance()
    assert (first.destination_rse, first.mount, first.path_begins_at, first.lifetime_days) == (
        "EULAKE-1",
        Path("/eos/eulake_1"),
        1,
        7,
    )


def test_instance_without_a_mount_has_none(rendered):
    assert (rendered.instance("ska").mount, rendered.instance("ska").destination_rse) == (None, None)


def test_cache_and_scratch_are_known(rendered):
    assert (rendered.xcache_site, [entry.path for entry in rendered.scratch]) == ("CERN-XCACHE", [Path("/scratch")])


def test_wrong_instance_is_answered_with_the_names(rendered):
    with pytest.raises(Failure, match=r"no Rucio instance 'cta'. It has: escape, ska") as caught:
        rendered.instance("cta")
    assert caught.value.code is Code.USAGE


def test_first_pattern_that_matches_gives_the_storage_token(tmp_path):
    instance = {"name": "a", "rucio_host": "https://r", "mode": "download"}
    instance["storage_tokens"] = [{"rse": "CNAF-*", "token": "/t/cnaf"}, {"rse": "*", "token": "/t/all"}]
    lake = {"version": 1, "user": "u", "account": "u", "auth_type": "oidc", "instances": [instance]}
    (tmp_path / "datalake.json").write_text(json.dumps(lake))
    found = load({"DLAAS_DIR": str(tmp_path)}).instance()
    assert found.storage_tokens[0] == StorageToken("CNAF-*", Path("/t/cnaf"))
    assert [str(found.storage_token(rse)) for rse in ("CNAF-1", "cnaf-1")] == ["/t/cnaf", "/t/all"]


def test_outside_a_server_it_says_so():
    with pytest.raises(Failure, match="This is not a data lake server: DLAAS_DIR is not set") as caught:
        load({})
    assert caught.value.code is Code.USAGE


@pytest.mark.parametrize("content", [None, "{", '{"version": 2}', "[]"])
def test_file_that_is_missing_broken_or_foreign_says_what_to_do(tmp_path, content):
    if content is not None:
        (tmp_path / "datalake.json").write_text(content)
    with pytest.raises(Failure, match=r"Stop and start the server|Update the image"):
        load({"DLAAS_DIR": str(tmp_path)})


def test_environment_without_rucio_says_so(tmp_path):
    lake = {"version": 1, "user": "u", "account": "u", "auth_type": "oidc"}
    (tmp_path / "datalake.json").write_text(json.dumps(lake))
    with pytest.raises(Failure, match="has no Rucio"):
        load({"DLAAS_DIR": str(tmp_path)}).instance()

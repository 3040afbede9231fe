"""Where a storage keeps a file, and where that is under a mount."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rucio.common.config import clean_cached_config
from rucio_jupyterlab.mode_handlers.replica import ReplicaModeHandler

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.rse_paths import below_mount, computed, leads_out, path_of, read_prefix


@pytest.fixture(autouse=True)
def rucio_cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every server has one; rucio-clients look in it for a policy package."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "rucio.cfg").write_text("[client]\n")
    monkeypatch.delenv("RUCIO_CONFIG", raising=False)
    monkeypatch.setenv("RUCIO_HOME", str(tmp_path))
    clean_cached_config()
    yield
    clean_cached_config()


HASH = {"rse": "A", "deterministic": True, "lfn2pfn_algorithm": "hash"}


def protocol(prefix: str, **priorities: int | None) -> dict[str, object]:
    return {"prefix": prefix, "domains": {domain: {"read": value} for domain, value in priorities.items()}}


@pytest.mark.parametrize("prefix", ["/eos/lake/", "/eos/lake", "eos/lake", "//eos/lake"])
def test_hash_is_rucios(prefix):
    path_of_did = computed(HASH, prefix)
    assert path_of_did is not None
    assert path_of_did(DID("user.alice", "run-7")) == "/eos/lake/user/alice/f9/9f/run-7"
    assert path_of_did(DID("cta", "run-7")) == "/eos/lake/cta/01/fb/run-7"


def test_identity_is_rucios():
    path_of_did = computed({**HASH, "lfn2pfn_algorithm": "identity"}, "/")
    assert path_of_did is not None
    assert path_of_did(DID("cta", "a/b.fits")) == "/cta/a/b.fits"


@pytest.mark.parametrize("change", [{"deterministic": False}, {"lfn2pfn_algorithm": "of-a-policy-package"}])
def test_only_the_server_can_say_for_other_storages(change):
    assert computed({**HASH, **change}, "/eos") is None


def test_protocol_that_is_read_first_from_afar_gives_the_prefix():
    protocols = [protocol("/lan", lan=1, wan=0), protocol("/second", lan=None, wan=2), protocol("/first", wan=1)]
    assert read_prefix({"protocols": protocols}) == "/first"


def test_protocol_for_nearby_readers_alone_will_do():
    assert read_prefix({"protocols": [protocol("/lan", lan=3, wan=None)]}) == "/lan"


def test_storage_that_cannot_be_read_has_no_prefix():
    assert read_prefix({"protocols": [protocol("/a", wan=None)]}) is None


@pytest.mark.parametrize(
    ("pfn", "path"),
    [
        ("root://h:1094//eos/a b", "//eos/a b"),
        ("https://h:443/eos/a#b?c%20d", "/eos/a#b?c%20d"),
        ("file://localhost/eos/ü\nx", "/eos/ü\nx"),
        ("srm://h:8444/srm/managerv2?SFN=/pnfs/a", "/pnfs/a"),
        ("/eos/a", "/eos/a"),
    ],
)
def test_path_in_a_pfn_is_taken_as_it_is(pfn, path):
    assert path_of(pfn) == path


@pytest.mark.parametrize("begins_at", [0, 1, 2, 9])
@pytest.mark.parametrize("path", ["/eos/lake/cta/x.fits", "//eos/lake/x", "/x"])
def test_path_below_the_mount_is_the_extensions(path, begins_at):
    extension = ReplicaModeHandler.__new__(ReplicaModeHandler)
    assert below_mount(path, begins_at) == extension.get_path_after_nth_slash(path, begins_at)


def test_climbing_path_is_seen():
    assert [leads_out(path) for path in ("/eos/a/../../b", "/eos/a..b/c", "/eos/..")] == [True, False, True]

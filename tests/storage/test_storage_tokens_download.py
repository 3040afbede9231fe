"""`datalake download` from storage that wants a token of its own, from several at once, and through caches."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code
from storage.lake import StorageUser
from storage.layout import (
    SITE_A,
    SITE_B,
    SITE_T,
    SITE_T_HTTPS,
    STORAGE_AUDIENCE,
    STORAGE_SCOPES,
    TOKEN_HTTPS_USERDISK,
    TOKEN_USERDISK,
)
from storage.plane import Lab

BOTH = pytest.mark.parametrize("rse", [SITE_T, SITE_T_HTTPS])
REFUSED = {
    "another audience": ({"audience": "rucio"}, "which is for rucio and allows storage.read:/ storage.modify:/."),
    "no storage scope": ({"scope": "openid profile"}, "which is for site-t and allows openid profile."),
    "expired": ({"seconds": -60}, "expired at"),
    "none": (None, "has no access to"),
}


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder to download to."""
    place = tmp_path / "here"
    place.mkdir()
    return place


def in_a_notebook(person: StorageUser, dids: list[DID], there: Path, **options: Any) -> dict[str, Any]:
    """`download` as a notebook calls it, with options that the command has not."""
    code = f"""
import json
from jupyterhub_dlaas.datalake.download import download
report = download({[str(did) for did in dids]!r}, {str(there)!r}, **{options!r})
print(json.dumps([report.downloaded, int(report.code), [entry.failure.sentence for entry in report.failures]]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=person.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    downloaded, code_, sentences = json.loads(done.stdout)
    return {"downloaded": downloaded, "code": code_, "sentences": sentences}


def token_file(person: StorageUser) -> Path:
    return Path(person.places.token(STORAGE_AUDIENCE))


def give(person: StorageUser, lab: Lab, settings: dict[str, Any] | None) -> None:
    """Another token for the storage, or none."""
    if settings is None:
        token_file(person).unlink()
        return
    wanted = {"audience": STORAGE_AUDIENCE, "scope": STORAGE_SCOPES, **settings}
    token_file(person).write_text(lab.mint.token("alice", **wanted))


def here(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@BOTH
def test_the_storages_own_token_passes(alice: StorageUser, there: Path, rse: str) -> None:
    did = alice.make_dataset(3, 5000, rse)
    done = alice.datalake("download", did, "--to", there)
    assert done.code == 0, done.err
    assert len(here(there)) == 3


@BOTH
@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_token_is_refused_by_the_server_and_one_sentence_says_why(
    alice: StorageUser, lab: Lab, there: Path, rse: str, kind: str
) -> None:
    settings, said = REFUSED[kind]
    did = alice.make_dataset(1, 1000, rse)
    give(alice, lab, settings)
    report = in_a_notebook(alice, [did], there, renewal_seconds=0.3)
    assert report["code"] == Code.REFUSED, report
    (sentence,) = report["sentences"]
    assert said in sentence
    assert rse in sentence
    assert here(there) == []


@BOTH
def test_what_a_person_sees_of_a_refusal(alice: StorageUser, lab: Lab, there: Path, rse: str) -> None:
    did = alice.make_dataset(3, 1000, rse)
    give(alice, lab, {"audience": "rucio", "scope": "openid profile"})
    done = alice.datalake("download", did, "--to", there, "--workers", 1)
    assert (done.code, done.out) == (Code.REFUSED, f"0 files (0 B) downloaded to {there}.\n")
    assert done.err == (
        "3 files not downloaded:\n"
        f"  {did}.00000 and 2 more: {rse} does not let you in with the token of site-t, "
        "which is for rucio and allows openid profile.\n"
        "    -> Ask the storage's managers whether that is what they expect.\n"
    )


@BOTH
def test_the_token_for_rucio_is_not_the_storages(alice: StorageUser, there: Path, rse: str) -> None:
    did = alice.make_dataset(1, 1000, rse)
    alice.change_instance(storage_tokens=[])
    done = alice.datalake("download", did, "--to", there)
    assert (done.code, here(there)) == (Code.REFUSED, [])
    assert f"{rse} does not take your token for Rucio" in done.err


@BOTH
def test_a_token_that_expires_on_the_way_is_renewed_and_it_goes_on(
    alice: StorageUser, lab: Lab, there: Path, rse: str
) -> None:
    did = alice.make_dataset(6, 2000, rse)
    give(alice, lab, {"seconds": -60})
    running = alice.start_datalake("download", did, "--to", there)
    with pytest.raises(subprocess.TimeoutExpired):
        running.communicate(timeout=4)
    assert [name for name in here(there) if not name.startswith(".")] == []
    alice.renew()  # as the agent does
    _, said = running.communicate(timeout=60)
    assert (running.returncode, len(here(there))) == (0, 6), said


def test_storages_with_different_tokens_are_read_in_one_download(alice: StorageUser, there: Path) -> None:
    dids = [alice.make_dataset(2, 3000, rse) for rse in (SITE_A, SITE_B, SITE_T, SITE_T_HTTPS)]
    done = alice.datalake("download", *dids, "--to", there)
    assert done.code == 0, done.err
    assert len(here(there)) == 8


def test_rucios_own_client_sends_each_storage_its_token(alice: StorageUser, there: Path) -> None:
    dids = [alice.make_dataset(1, 3000, rse) for rse in (SITE_B, SITE_T, SITE_T_HTTPS)]
    code = f"""
from rucio.client import Client
from rucio.client.downloadclient import DownloadClient
from jupyterhub_dlaas.datalake.lake import load
from jupyterhub_dlaas.datalake.storage_tokens import own_tokens
items = [{{"did": did, "base_dir": {str(there)!r}}} for did in {[str(did) for did in dids]}]
with own_tokens(load().instance()):
    done = DownloadClient(Client()).download_dids(items)
print(*(entry["clientState"].value for entry in done))
"""
    done = subprocess.run([sys.executable, "-c", code], env=alice.environ, capture_output=True, text=True)
    assert done.stdout.split() == ["DONE"] * 3, done.stderr[-2000:]


@contextmanager
def without(lab: Lab, server: str) -> Iterator[None]:
    lab.daemons[server].stop()
    try:
        yield
    finally:
        lab.daemons[server].start()


def test_a_storage_that_is_down_is_one_sentence_and_what_is_elsewhere_comes(
    alice: StorageUser, lab: Lab, there: Path
) -> None:
    down, up = alice.make_dataset(5, 1000, SITE_B), alice.make_dataset(2, 1000, SITE_A)
    alice.environ |= {"XRD_CONNECTIONWINDOW": "2", "XRD_CONNECTIONRETRY": "1", "XRD_STREAMERRORWINDOW": "0"}
    with without(lab, "site-b"):
        done = alice.datalake("download", down, up, "--to", there)
    assert (done.code, len(here(there))) == (Code.UNREACHABLE, 2), done.err
    assert f"{SITE_B} does not answer" in done.err
    assert alice.datalake("download", down, up, "--to", there).code == 0
    assert len(here(there)) == 7


def test_a_file_that_the_cache_has_comes_although_its_storage_is_down(
    cached_alice: StorageUser, lab: Lab, there: Path
) -> None:
    """Rucio's own client asks the storage first, and fails."""
    did = cached_alice.make_dataset(2, 700_000, SITE_B)
    first = cached_alice.datalake("download", did, "--to", there / "1")
    assert (first.code, "2 of them through the cache" in first.out) == (0, True), first.err
    with without(lab, "site-b"):
        second = cached_alice.datalake("download", did, "--to", there / "2")
    assert second.code == 0, second.err


def test_where_the_cache_is_down_the_storage_itself_is_read(cached_alice: StorageUser, lab: Lab, there: Path) -> None:
    did = cached_alice.make_dataset(2, 1000, SITE_B)
    with without(lab, "cache"):
        done = cached_alice.datalake("download", did, "--to", there)
    assert (done.code, len(here(there)), "through the cache" in done.out) == (0, 2, False), done.err


def test_https_storage_is_read_in_an_environment_with_a_cache(cached_alice: StorageUser, there: Path) -> None:
    """Rucio sends its readers to the cache with an https address in it, where its own client fails."""
    did = cached_alice.make_dataset(1, 1000, SITE_T_HTTPS)
    done = cached_alice.datalake("download", did, "--to", there)
    assert (done.code, len(here(there))) == (0, 1), done.err


def test_a_cache_that_wants_a_token_gets_that_of_the_storage(
    token_cached_alice: StorageUser, lab: Lab, there: Path
) -> None:
    did = token_cached_alice.make_dataset(1, 1000, SITE_T)
    done = token_cached_alice.datalake("download", did, "--to", there)
    assert (done.code, "1 of them through the cache" in done.out) == (0, True), done.err


@BOTH
def test_ctrl_c_in_the_middle_of_a_file_leaves_nothing_half(
    alice: StorageUser, lab: Lab, there: Path, rse: str
) -> None:
    import os
    import signal
    import time

    did = alice.make_dataset(1, 20_000_000, rse)
    server = lab.daemons["site-t"].pid
    running = alice.start_datalake("download", did, "--to", there)
    try:
        deadline = time.monotonic() + 30
        while not here(there) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(server, signal.SIGSTOP)  # the storage hangs
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    finally:
        os.kill(server, signal.SIGCONT)
    assert (running.returncode, "Interrupted" in said) in {(Code.INTERRUPTED, True), (0, False)}
    assert [name for name in here(there) if name.startswith(".")] == []


PANEL = """
import json, os, sys
from types import SimpleNamespace
from jupyterhub_dlaas.datalake import rucio_tokens
assert rucio_tokens.install() == ""
config = json.load(open(os.environ["JUPYTER_CONFIG_PATH"].split(":")[0] + "/jupyter_server_config.json"))
(instance,) = config["RucioConfig"]["instances"]
panel = SimpleNamespace(instance_config=instance, base_url=instance["rucio_base_url"], auth_type="oidc",
                        auth_url=instance["rucio_auth_url"], auth_config={"account": "alice"})
"""


def panels_child(person: StorageUser, code: str) -> subprocess.CompletedProcess[str]:
    """What rucio-jupyterlab runs in a process of its own, run in one."""
    command = [sys.executable, "-c", PANEL + code]
    return subprocess.run(command, env=person.environ, cwd=person.workplace(), capture_output=True, text=True)


@BOTH
def test_the_rucio_panel_downloads_from_storage_with_its_own_token(alice: StorageUser, rse: str) -> None:
    did = alice.make_dataset(1, 4000, rse)
    code = f"""
from rucio_jupyterlab.rucio.download import RucioFileDownloader
RucioFileDownloader.start_download_target("lake", "{did}", panel)
print(RucioFileDownloader.get_dest_folder("lake", "{did}"))
"""
    done = panels_child(alice, code)
    place = Path(done.stdout.split()[-1])
    assert (place / ".donefile").exists(), done.stderr[-2000:]
    assert [path.stat().st_size for path in place.rglob(f"{did.name}.*")] == [4000]


@pytest.mark.parametrize("rse", [TOKEN_USERDISK, TOKEN_HTTPS_USERDISK])
def test_the_rucio_panel_uploads_to_storage_with_its_own_token(alice: StorageUser, tmp_path: Path, rse: str) -> None:
    name = alice.name_of("panel")
    (tmp_path / name).write_bytes(b"a result")
    code = f"""
from rucio_jupyterlab.rucio.upload import RucioFileUploader
RucioFileUploader.start_upload_target("lake", panel, {str(tmp_path / name)!r}, "{rse}", "{alice.scope}")
"""
    done = panels_child(alice, code)
    print(done.stderr)
    assert alice.lake.path(rse, alice.scope, name).read_bytes() == b"a result"

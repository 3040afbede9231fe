"""`datalake upload` of files from elsewhere, to storage that wants a token of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_dlaas.datalake.failure import Code
from storage.lake import StorageLake, StorageUser
from storage.layout import STORAGE_AUDIENCE, STORAGE_SCOPES, TOKEN_HTTPS_USERDISK, TOKEN_USERDISK
from storage.plane import Lab

BOTH = pytest.mark.parametrize("rse", [TOKEN_USERDISK, TOKEN_HTTPS_USERDISK])
REFUSED = {
    "another audience": ({"audience": "rucio"}, "is for rucio and allows storage.read:/ storage.modify:/"),
    "no storage scope": ({"scope": "openid profile"}, "is for site-t and allows openid profile"),
}


def papers(person: StorageUser, count: int = 3) -> Path:
    folder = Path(person.environ["HOME"]) / person.name_of("papers")
    folder.mkdir()
    for number in range(count):
        (folder / f"p{number}.pdf").write_bytes(b"%d" % number * 3000)
    return folder


def give(person: StorageUser, lab: Lab, settings: dict[str, Any]) -> None:
    """Another token for the storage."""
    wanted = {"audience": STORAGE_AUDIENCE, "scope": STORAGE_SCOPES, **settings}
    Path(person.places.token(STORAGE_AUDIENCE)).write_text(lab.mint.token("alice", **wanted))


@BOTH
def test_the_storages_own_token_lets_files_in(lake: StorageLake, alice: StorageUser, rse: str) -> None:
    folder = papers(alice)

    done = alice.datalake("upload", folder, "--rse", rse)

    assert done.code == 0, done
    for path in folder.iterdir():
        assert lake.path(rse, alice.scope, f"{folder.name}/{path.name}").read_bytes() == path.read_bytes()


@BOTH
@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_token_is_refused_and_one_sentence_says_why(
    lab: Lab, lake: StorageLake, alice: StorageUser, rse: str, kind: str
) -> None:
    settings, said = REFUSED[kind]
    folder = papers(alice, 1)
    give(alice, lab, settings)

    done = alice.datalake("upload", folder, "--rse", rse)

    assert done.code == Code.REFUSED, done
    assert said in done.err
    assert rse in done.err
    assert not list(lake.root.list_dids(alice.scope, {"name": f"{folder.name}/*"}, did_type="file"))


@BOTH
def test_a_token_that_expires_on_the_way_is_renewed_and_it_goes_on(
    lab: Lab, lake: StorageLake, alice: StorageUser, rse: str
) -> None:
    folder = papers(alice)
    give(alice, lab, {"seconds": -60})
    running = alice.start_datalake("upload", folder, "--rse", rse)
    with pytest.raises(subprocess.TimeoutExpired):
        running.communicate(timeout=6)
    give(alice, lab, {})

    out, err = running.communicate(timeout=60)

    assert running.returncode == 0, err
    assert "3 files of 9.0 kB registered" in out


def test_a_storage_whose_certificate_is_not_trusted_gets_no_token(lake: StorageLake, alice: StorageUser) -> None:
    folder = papers(alice, 1)

    done = alice.datalake("upload", folder, "--rse", TOKEN_HTTPS_USERDISK, env={"X509_CERT_DIR": ""})

    assert done.code != 0
    assert "certificate" in done.err.lower()
    assert not list(lake.root.list_dids(alice.scope, {"name": f"{folder.name}/*"}, did_type="file"))

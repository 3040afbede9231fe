"""Storage with tokens of its own: what Rucio's protocol classes, and the Rucio panel's children, send to whom."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_samples import jwt

from jupyterhub_dlaas.datalake.failure import Code
from jupyterhub_dlaas.datalake.storage_tokens import refused_by, why_refused

PRELUDE = """
import os, time
from pathlib import Path
from rucio.rse import rsemanager
from jupyterhub_dlaas.datalake.lake import Instance, StorageToken, load
from jupyterhub_dlaas.datalake import storage_tokens
from jupyterhub_dlaas.datalake.storage_tokens import own_tokens

def protocol(rse, scheme="root", given="for-rucio"):
    settings = {"rse": rse, "deterministic": True, "sign_url": None, "protocols": [
        {"scheme": scheme, "hostname": "h", "port": 1, "prefix": "/", "extended_attributes": None,
         "impl": "rucio.rse.protocols." + {"root": "xrootd", "https": "webdav"}[scheme] + ".Default",
         "domains": {"wan": {"read": 1, "write": 1, "delete": 1}}}]}
    return rsemanager.create_protocol(settings, "read", auth_token=given)
"""


def with_tokens(folder: Path, *tokens: tuple[str, str]) -> None:
    """Puts tokens for storage into a server's datalake.json: pattern and file."""
    path = folder / "dlaas" / "datalake.json"
    document = json.loads(path.read_text())
    document["instances"][0]["storage_tokens"] = [
        {"rse": pattern, "token": str(folder / name)} for pattern, name in tokens
    ]
    path.write_text(json.dumps(document))


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def server(lake, tmp_path: Path) -> Path:
    lake()
    with_tokens(tmp_path, ("CNAF-*", "cnaf"))
    (tmp_path / "cnaf").write_text("for-cnaf")
    return tmp_path


def test_each_storage_is_sent_its_own_token(server: Path) -> None:
    code = """
with own_tokens(load().instance()):
    print(protocol("CNAF-1").auth_token, protocol("DESY").auth_token)
print(protocol("CNAF-1").auth_token)
"""
    assert run(code) == ["for-cnaf", "for-rucio", "for-rucio"]


def test_a_protocol_in_use_takes_up_a_renewed_token(server: Path) -> None:
    code = f"""
with own_tokens(load().instance()):
    used = protocol("CNAF-1")
    print(used._auth_env["BEARER_TOKEN"])
    Path({str(server / "cnaf")!r}).write_text("renewed")
    print(used._auth_env["BEARER_TOKEN"])
"""
    assert run(code) == ["for-cnaf", "renewed"]


def test_a_client_that_has_no_token_of_its_own_sends_the_storages(server: Path) -> None:
    assert run('with own_tokens(load().instance()): print(protocol("CNAF-1", "https", None).auth_token)') == [
        "for-cnaf"
    ]


def test_where_the_token_is_missing_that_for_rucio_is_not_sent_in_its_place(server: Path) -> None:
    (server / "cnaf").unlink()
    assert run('with own_tokens(load().instance()): print(protocol("CNAF-1").auth_token)') == ["None"]


def test_a_signed_url_is_sent_no_token(server: Path) -> None:
    code = """
with own_tokens(load().instance()):
    used = protocol("CNAF-1", "https")
    used.auth_token = None  # as webdav does for a storage with signed URLs
    print(used.auth_token)
"""
    assert run(code) == ["None"]


CHILD = """
import json
from types import SimpleNamespace
from jupyterhub_dlaas.datalake import rucio_tokens
print(repr(rucio_tokens.install()))
from rucio_jupyterlab.rucio.client_environment import RucioClientEnvironment
config = json.load(open(os.environ["JUPYTER_CONFIG_PATH"] + "/jupyter_server_config.json"))
instance = next(entry for entry in config["RucioConfig"]["instances"] if entry["name"] == {name!r})
panel = SimpleNamespace(instance_config=instance, base_url=instance["rucio_base_url"], auth_type="oidc",
                        auth_url=instance["rucio_auth_url"], auth_config={{"account": "alice"}})
with RucioClientEnvironment(panel):
    print(protocol("CNAF-1").auth_token, protocol("DESY").auth_token)
"""


def test_the_panels_children_send_storage_its_own_token(server: Path) -> None:
    assert run(CHILD.format(name="escape")) == ["''", "for-cnaf", "for-rucio"]


def test_the_panels_children_look_at_the_storages_certificates(server: Path) -> None:
    code = "import gc; gc.collect(); from rucio.rse.protocols import webdav; print(webdav.requests.Session.__name__)"
    assert run(CHILD.format(name="escape") + code)[-1] == "Verifying"


def test_one_instances_storage_tokens_are_not_anothers(server: Path) -> None:
    assert run(CHILD.format(name="ska")) == ["''", "for-rucio", "for-rucio"]


def test_a_hub_that_writes_no_datalake_json_changes_nothing(server: Path) -> None:
    (server / "dlaas" / "datalake.json").unlink()
    assert run(CHILD.format(name="escape")) == ["''", "for-rucio", "for-rucio"]


def test_a_refusal_says_for_whom_the_token_is_and_not_what_it_is(tmp_path: Path) -> None:
    token = jwt("somebody-else", 2e9)
    failure = refused_by("CNAF-1", tmp_path / "cnaf", token)
    assert failure.code == Code.REFUSED
    said = "CNAF-1 does not let you in with the token of cnaf, which is for somebody-else and allows nothing."
    assert failure.sentence == said
    assert token not in str(failure)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "this server has no token for it (cnaf)"),
        (jwt("cnaf", 1000), "the token for it (cnaf) has expired"),
        (jwt("x", 2e9), "the token of cnaf, which was sent, is for x and allows nothing"),
        ("no-jwt", "the token of cnaf, which was sent, is for nobody knows whom and allows nobody knows what"),
    ],
)
def test_why_a_storage_refused_is_the_end_of_a_sentence(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "cnaf").write_text(content)
    assert why_refused(tmp_path / "cnaf") == said


def test_storage_that_the_catalogue_does_not_name_was_sent_the_token_for_rucio() -> None:
    assert why_refused(None) == "the catalogue names no token for it, so it was sent yours for Rucio"
    assert "does not take your token for Rucio" in refused_by("DESY", None, "x").sentence

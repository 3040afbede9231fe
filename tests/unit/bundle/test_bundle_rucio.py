"""rucio.cfg, read back by the Rucio clients themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_samples import PLACES, choice, clean_environ, files, tokens, write

from jupyterhub_dlaas.bundle.environment import environment
from jupyterhub_dlaas.bundle.rucio import config_text, rucio_cfg

READ = "import json, rucio.common.config as c; print(json.dumps(dict(c.config_get_items('client'))))"


def read_back(folder: Path, **kwargs) -> dict[str, str]:
    places = write(folder, choice(), tokens(), **kwargs)
    base = clean_environ(folder)
    environ = {**base, **environment(choice(), places, base)}
    done = subprocess.run([sys.executable, "-c", READ], env=environ, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_clients_read_the_first_instance_with_its_token_file(tmp_path: Path):
    assert read_back(tmp_path) == {
        "rucio_host": "https://rucio.example.org",
        "auth_host": "https://rucio.example.org",
        "auth_type": "oidc",
        "account": "alice",
        "auth_token_file_path": str(tmp_path / "dlaas/tokens/rucio"),
    }


@pytest.mark.parametrize("auth_type", ["x509", "x509_proxy"])
def test_certificates_never_touch_our_token_file(tmp_path: Path, auth_type: str):
    client = read_back(tmp_path, auth_type=auth_type)
    assert client["auth_type"] == auth_type
    assert "auth_token_file_path" not in client


def test_x509_names_the_certificate_that_the_clients_require():
    text = files(auth_type="x509")["rucio/etc/rucio.cfg"].content.decode()
    assert "client_cert = ~/.globus/usercert.pem" in text
    assert "client_key = ~/.globus/userkey.pem" in text


def test_vo_and_ca_are_named_where_given():
    instance = choice().offer.rucio[1][1].model_copy(update={"rucio_ca_cert": "/etc/ska-ca.pem"})
    text = rucio_cfg(instance, PLACES, user="alice", account="alice", auth_type="oidc").decode()
    assert "vo = ska" in text
    assert "ca_cert = /etc/ska-ca.pem" in text


def test_percent_survives_the_clients_interpolation():
    assert b"a%%b" in config_text({"client": {"account": "a%b"}})


def test_unknown_account_is_left_to_rucio():
    assert b"account" not in files(account="")["rucio/etc/rucio.cfg"].content

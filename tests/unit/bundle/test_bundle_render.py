"""A bundle has exactly the files that a server may have."""

from __future__ import annotations

import json
import re

import pytest
from bundle_samples import KEYS, PLACES, choice, files, jwt, tokens

from jupyterhub_dlaas.bundle.mounts import Mount, MountState, mounts
from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.bundle.token import TokenState, Trouble
from jupyterhub_dlaas.oidc.secret import Secret


def test_bundle_has_the_promised_files():
    assert sorted(files()) == [
        "cache.db",
        "datalake.json",
        "eos/token",
        "jupyter/jupyter_server_config.json",
        "jupyter/labconfig/default_setting_overrides.json",
        "python/startup.py",
        "rucio/etc/rucio.cfg",
        "status.json",
        "tokens/eos-eulake",
        "tokens/rucio",
        "tokens/ska-rucio",
    ]


def test_every_file_is_for_the_user_alone():
    assert {file.mode for file in files().values()} == {0o600}


def test_only_the_cache_is_written_once():
    assert [(file.root, path) for path, file in files().items() if file.when == "once"] == [("cache", "cache.db")]


def test_token_file_is_the_bare_token():
    assert files()["tokens/rucio"].content == jwt("rucio", 2_000_000_000).encode()


def test_eos_line_has_exactly_three_fields_and_no_white_space():
    line = files()["eos/token"].content.decode()
    assert line.split(":") == ["oauth2", jwt("eos-eulake", 2_000_000_000), "iam.example.org/userinfo"]
    assert not re.search(r"\s|://", line)


def test_same_input_gives_the_same_bytes():
    assert files() == files()


def test_tokens_of_other_environments_stay_out():
    assert not [path for path in files(choice(environment="plain")) if "token" in path]


def test_environment_without_rucio_has_no_rucio_files():
    assert sorted(files(choice(environment="plain"))) == ["jupyter/jupyter_server_config.json", "status.json"]


def test_missing_audience_leaves_the_others():
    assert "tokens/rucio" in files(states=tokens("rucio"))
    assert "tokens/ska-rucio" not in files(states=tokens("rucio"))


def test_expired_token_is_left_out():
    assert "tokens/rucio" not in files(states=tokens(expires_at=1000), now=1000)


def test_expired_eos_token_stays_so_that_a_renewal_is_a_new_login():
    assert "eos/token" in files(states=tokens(expires_at=1000), now=1000)


@pytest.mark.parametrize("value", ["two words", "line\n", "a:b", ""])
def test_token_that_no_file_can_carry_is_left_out(value):
    state = TokenState("rucio", Secret(value), 2e9, 1e9)
    assert "tokens/rucio" not in files(states={**tokens(), "rucio": state})


def test_shared_server_gets_nothing_that_carries_a_token():
    rendered = files(withheld="This server is shared.")
    assert not [path for path in rendered if path.startswith(("tokens/", "eos/"))]
    assert json.loads(rendered["status.json"].content)["withheld"] == "This server is shared."


def test_no_token_is_anywhere_else():
    values = [jwt(key, 2_000_000_000).encode() for key in KEYS]
    others = [file for path, file in files().items() if not path.startswith(("tokens/", "eos/"))]
    assert not [file.path for file in others for value in values if value in file.content]


def test_a_file_does_not_show_its_content():
    assert "eyJ" not in repr(files()["tokens/rucio"])


def test_status_has_validity_and_problem_of_each_audience():
    refused = TokenState("ska-rucio", None, None, None, Trouble("no_entitlement", "IAM says no.", 1_700_000_000))
    status = json.loads(files(states={**tokens("rucio"), "ska-rucio": refused})["status.json"].content)
    assert status["audiences"] == {
        "rucio": {
            "used_by": ["ESCAPE Data Lake"],
            "valid_until": "2033-05-18T03:33:20Z",
            "last_renewal": "2033-05-18T02:33:20Z",
            "problem": None,
        },
        "ska-rucio": {
            "used_by": ["SKA Rucio"],
            "valid_until": None,
            "last_renewal": None,
            "problem": {"class": "no_entitlement", "sentence": "IAM says no.", "since": "2023-11-14T22:13:20Z"},
        },
        "eos-eulake": {
            "used_by": ["eulake"],
            "valid_until": None,
            "last_renewal": None,
            "problem": {"class": "missing", "sentence": "The hub has no token for it.", "since": None},
        },
    }


def test_status_has_the_mounts_as_last_probed():
    dead = MountState("eulake", "/eos/eulake_1", False, "It does not answer.", 1_700_000_000)
    assert json.loads(files(mounts=[dead])["status.json"].content)["mounts"] == [
        {
            "name": "eulake",
            "path": "/eos/eulake_1",
            "required": False,
            "alive": False,
            "problem": "It does not answer.",
            "since": "2023-11-14T22:13:20Z",
        },
        {"name": "scratch", "path": "/scratch", "required": False, "alive": None, "problem": "", "since": None},
    ]


def test_mounts_are_where_users_look():
    assert mounts(choice(), "alice") == (Mount("eulake", "/eos/eulake_1"), Mount("scratch", "/scratch"))


@pytest.mark.parametrize("path", ["run/dlaas", "/run/a&b", "/run/a=b", "/run/../etc", "/run/dlaas/", "/run//dlaas"])
def test_folder_that_eosxd_would_not_use_is_refused(path):
    with pytest.raises(ValueError, match="absolute path"):
        Places(path, PLACES.cache_dir)

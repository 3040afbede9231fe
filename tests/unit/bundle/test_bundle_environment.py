"""The variables of a server lead to its own files, and nothing outranks them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bundle_samples import PLACES, choice, clean_environ, tokens, write

from jupyterhub_dlaas.bundle.environment import UNSET, environment


def test_variables_of_an_environment_with_everything():
    assert environment(choice(), PLACES, {}) == {
        "DLAAS_DIR": "/run/dlaas/3f9c",
        "JUPYTER_CONFIG_PATH": "/run/dlaas/3f9c/jupyter",
        "BEARER_TOKEN_FILE": "/run/dlaas/3f9c/status.json/tokens-are-in-DLAAS_DIR",
        "RUCIO_HOME": "/run/dlaas/3f9c/rucio",
        "RUCIO_CACHE_DIR": "/var/cache/dlaas",
        "PYTHONSTARTUP": "/run/dlaas/3f9c/python/startup.py",
        "OAUTH2_TOKEN": "FILE:/run/dlaas/3f9c/eos/token",
        "SITE_NAME": "CERN-XCACHE",
    }


def test_environment_without_data_has_no_data_variables():
    assert set(environment(choice(environment="plain"), PLACES, {})) == {
        "DLAAS_DIR",
        "JUPYTER_CONFIG_PATH",
        "BEARER_TOKEN_FILE",
    }


def test_our_jupyter_configuration_comes_before_the_images_own():
    variables = environment(choice(), PLACES, {"JUPYTER_CONFIG_PATH": "/opt/a:/opt/b"})
    assert variables["JUPYTER_CONFIG_PATH"] == "/run/dlaas/3f9c/jupyter:/opt/a:/opt/b"


def test_the_images_own_startup_is_kept():
    variables = environment(choice(), PLACES, {"PYTHONSTARTUP": "/opt/start.py"})
    assert variables["DLAAS_PYTHONSTARTUP"] == "/opt/start.py"


def test_no_variable_is_both_set_and_unset():
    assert not set(environment(choice(), PLACES, {"PYTHONSTARTUP": "/x"})) & set(UNSET)


DISCOVERY = "from rucio.common.utils import wlcg_token_discovery; print(wlcg_token_discovery())"


def discovered(environ: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", DISCOVERY], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_planted_bearer_token_does_not_win(tmp_path: Path):
    planted = tmp_path / f"bt_u{os.geteuid()}"
    planted.write_text("planted")
    base = {**clean_environ(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    places = write(tmp_path, choice(), tokens())
    assert discovered(base) == "planted"
    assert discovered({**base, **environment(choice(), places, base)}) == "None"


SPY = """
import builtins
from rucio.common.utils import wlcg_token_discovery
real = builtins.open
def spy(path, *args, **kwargs):
    print(path)
    return real(path, *args, **kwargs)
builtins.open = spy
wlcg_token_discovery()
"""


def test_search_for_bearer_tokens_ends_before_tmp(tmp_path: Path):
    places = write(tmp_path, choice(), tokens())
    base = clean_environ(tmp_path)
    environ = {**base, **environment(choice(), places, base)}
    done = subprocess.run([sys.executable, "-c", SPY], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [environ["BEARER_TOKEN_FILE"]]

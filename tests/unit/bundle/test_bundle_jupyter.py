"""The JupyterLab extension's configuration and sign-in, judged by the extension itself."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from bundle_samples import choice, clean_environ, files, tokens, write

from jupyterhub_dlaas.bundle.environment import environment


def instances() -> list[dict[str, object]]:
    return json.loads(files()["jupyter/jupyter_server_config.json"].content)["RucioConfig"]["instances"]


def test_replica_instance_is_complete():
    assert instances()[0] == {
        "name": "escape",
        "display_name": "ESCAPE Data Lake",
        "rucio_base_url": "https://rucio.example.org",
        "rucio_auth_url": "https://rucio.example.org",
        "mode": "replica",
        "wildcard_enabled": True,
        "oidc_auth": "file",
        "oidc_file_name": "/run/dlaas/3f9c/tokens/rucio",
        "site_name": "CERN-XCACHE",
        "replication_rule_lifetime_days": 7,
        "destination_rse": "EULAKE-1",
        "rse_mount_path": "/eos/eulake_1",
        "path_begins_at": 1,
    }


def test_download_instance_always_verifies_the_server():
    assert instances()[1]["rucio_ca_cert"] == "/etc/ssl/certs/ca-certificates.crt"


def test_each_instance_has_its_own_token_file():
    assert [instance["oidc_file_name"] for instance in instances()] == [
        "/run/dlaas/3f9c/tokens/rucio",
        "/run/dlaas/3f9c/tokens/ska-rucio",
    ]


def test_configuration_has_no_null():
    assert b"null" not in files()["jupyter/jupyter_server_config.json"].content


def test_sign_in_is_left_to_the_user_where_only_certificates_are_allowed():
    content = files(choice(auth_types="x509", auth_type="x509"), auth_type="x509")["cache.db"].content
    with sqlite3.connect(":memory:") as database:
        database.deserialize(content)
        assert database.execute("SELECT count(*) FROM rucioauthcredentials").fetchone() == (0,)


ASK = """
import json, pathlib, sys
from traitlets.config import Config as TraitletsConfig
from rucio_jupyterlab.config import Config, RucioConfig
from rucio_jupyterlab.rucio import RucioAPIFactory
text = pathlib.Path(sys.argv[1]).read_text()
config = Config(RucioConfig(config=TraitletsConfig(json.loads(text))))
api = RucioAPIFactory(config).for_instance(sys.argv[2])
print(json.dumps({"listed": config.list_instances(), "default": config.get_default_instance(),
                  "auth_type": api.auth_type, "auth_config": api.auth_config}))
"""


def ask_the_extension(folder: Path, name: str) -> dict[str, object]:
    places = write(folder, choice(), tokens())
    base = {**clean_environ(folder), "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/"}
    environ = {**base, **environment(choice(), places, base)}
    command = [sys.executable, "-c", ASK, f"{places.jupyter_config_dir}/jupyter_server_config.json", name]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_extension_accepts_the_configuration_and_sees_every_token(tmp_path: Path):
    answer = ask_the_extension(tmp_path, "escape")
    assert [(entry["name"], entry["mode"], entry["oidc_enabled"]) for entry in answer["listed"]] == [
        ("escape", "replica", True),
        ("ska", "download", True),
    ]


def test_extension_is_signed_in_without_a_click(tmp_path: Path):
    answer = ask_the_extension(tmp_path, "ska")
    assert (answer["auth_type"], answer["auth_config"]) == ("oidc", {"account": "alice"})


LAB = """
from jupyterlab_server.settings_utils import _get_overrides
overrides, error = _get_overrides("/nonexistent")
print(overrides["@jupyterlab/apputils-extension:kernels-settings"]["commsOverSubshells"], error or "")
"""


def test_jupyterlab_does_not_send_comms_over_subshells_unless_the_user_says_so(tmp_path: Path):
    places = write(tmp_path, choice(), tokens())
    environ = {**clean_environ(tmp_path), **environment(choice(), places, {})}
    done = subprocess.run([sys.executable, "-c", LAB], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["disabled"], done.stderr


KERNEL = """
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
code = "print(callable(resolve_dids), '_dlaas_startup' in globals(), globals().get('mine'))"
code += "; print('magic', get_ipython().find_line_magic('datalake') is not None)"
show = lambda message: print(message["content"].get("text", message["content"]), end="")
client.execute_interactive(code, output_hook=show, timeout=30)
manager.shutdown_kernel(now=True)
"""


def test_every_ipython_kernel_loads_the_extension_and_the_users_own_startup(tmp_path: Path):
    own = tmp_path / "own.py"
    own.write_text("mine = 'kept'\n")
    places = write(tmp_path, choice(), tokens())
    base = {**clean_environ(tmp_path), "PYTHONSTARTUP": str(own)}
    environ = {**base, **environment(choice(), places, base), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KERNEL], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert "True False kept" in done.stdout, done.stdout + done.stderr
    assert "magic True" in done.stdout


def test_plain_python_is_left_alone(tmp_path: Path):
    places = write(tmp_path, choice(), tokens())
    startup = Path(places.python_startup).read_text()
    environ = {key: value for key, value in os.environ.items() if key != "DLAAS_PYTHONSTARTUP"}
    done = subprocess.run([sys.executable, "-c", startup], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

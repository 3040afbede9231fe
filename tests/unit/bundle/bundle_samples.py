"""An environment with two Rucio instances, EOS and scratch, tokens for it, and a way to put its bundle on disk."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

from jupyterhub_dlaas.bundle.files import BundleFile
from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.bundle.render import render
from jupyterhub_dlaas.bundle.token import TokenState
from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.catalogue.load import parse
from jupyterhub_dlaas.catalogue.offer import Choice, Offer
from jupyterhub_dlaas.oidc.secret import Secret

CATALOGUE = """
vo: escape
display_name: ESCAPE
rucio_instances:
  escape:
    display_name: ESCAPE Data Lake
    rucio_host: {rucio}
    auth_host: {rucio}
    audience: rucio
    mode: replica
    destination_rse: EULAKE-1
    storage: eulake
    path_begins_at: 1
    replication_rule_lifetime_days: 7
    wildcard_enabled: true
  ska:
    display_name: SKA Rucio
    rucio_host: {ska}
    audience: ska-rucio
    mode: download
    vo: ska
storages:
  eulake:
    type: eos
    host_path: /var/eos
    mount_path: /eos
    path: {eos}
    audience: eos-eulake
    introspection: iam.example.org/userinfo
  scratch: {{type: scratch, host_path: /var/scratch, mount_path: {scratch}, per_user: true}}
environments:
  - name: root
    image: registry.example.org/escape/root:6.32
    rucio: [escape, ska]
    storages: [eulake, scratch]
    xcache_site: CERN-XCACHE
    auth_types: [{auth_types}]
  - name: plain
    image: registry.example.org/escape/plain:1
"""
PLACES = Places("/run/dlaas/3f9c", "/var/cache/dlaas")
KEYS = ("rucio", "ska-rucio", "eos-eulake")


def choice(
    *,
    environment: str = "root",
    rucio: str = "https://rucio.example.org",
    ska: str = "https://rucio.ska.example.org",
    eos: str = "/eos/eulake_1",
    scratch: str = "/scratch",
    auth_type: str = "oidc",
    auth_types: str = "oidc, x509, x509_proxy",
) -> Choice:
    text = CATALOGUE.format(rucio=rucio, ska=ska, eos=eos, scratch=scratch, auth_types=auth_types).replace(
        "mount_path: /eos", f"mount_path: {eos}" if eos != "/eos/eulake_1" else "mount_path: /eos"
    )
    catalogue = parse(text, "escape.yaml")
    found = next(entry for entry in catalogue.environments if entry.name == environment)
    return Choice(Offer("escape", found, catalogue, Grant(trusted=True, groups={"escape"})), None, None, auth_type)


def jwt(key: str, expires_at: float) -> str:
    parts = [{"alg": "none"}, {"sub": "alice", "aud": key, "exp": int(expires_at)}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "signature"])


def tokens(*keys: str, expires_at: float = 2_000_000_000) -> dict[str, TokenState]:
    return {key: TokenState(key, Secret(jwt(key, expires_at)), expires_at, expires_at - 3600) for key in keys or KEYS}


def files(chosen: Choice | None = None, states: dict[str, TokenState] | None = None, **kwargs) -> dict[str, BundleFile]:
    options = {"user": "alice", "account": "alice", "auth_type": "oidc", "server": "", **kwargs}
    places = options.pop("places", PLACES)
    rendered = render(chosen or choice(), tokens() if states is None else states, places, **options)
    return {file.path: file for file in rendered}


def write(folder: Path, chosen: Choice, states: dict[str, TokenState], **kwargs) -> Places:
    """Puts a bundle where a server would have it, as the agent does."""
    places = Places(str(folder / "dlaas"), str(folder / "cache"))
    for file in files(chosen, states, places=places, **kwargs).values():
        path = Path(places.files_dir if file.root == "files" else places.cache_dir) / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    return places


def in_an_hour() -> float:
    return time.time() + 3600


def clean_environ(home: Path) -> dict[str, str]:
    """What a server starts with before the data lake is added."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}

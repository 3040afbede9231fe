"""The parts of the demo, in the order in which they start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from jupyterhub_dlaas.demo import hub
from jupyterhub_dlaas.demo.iam.model import User, demo_clients, demo_users
from jupyterhub_dlaas.demo.lake import config as lake_config
from jupyterhub_dlaas.demo.lake.config import REMOTE_RSE, Account, Lake
from jupyterhub_dlaas.demo.state import State
from jupyterhub_dlaas.demo.supervisor import Part

PYTHON = sys.executable
SMALL_QUOTAS = {"bob": {REMOTE_RSE: 2**20}}  # so that a full quota can be met


def users() -> dict[str, User]:
    """Who can log in."""
    return demo_users()


def issuer(state: State) -> str:
    """IAM's issuer as its discovery document says it."""
    return state.url("iam") + "/"


def lake(state: State) -> Lake:
    """The demo's Rucio. Everybody who is in a VO has an account there."""
    client = demo_clients()["rucio"]
    return Lake(
        folder=state.folder / "rucio",
        mount=state.mount,
        remote=state.remote,
        scratch=state.scratch,
        port=state.ports["rucio"],
        issuer=issuer(state),
        client_id=client.client_id,
        client_secret=client.secret,
        root_password=state.secrets["rucio_root"],
        accounts=tuple(
            Account(user.name, user.sub, user.email, SMALL_QUOTAS.get(user.name, {}))
            for user in users().values()
            if user.groups
        ),
    )


def prepare(state: State) -> list[str]:
    """Writes what the parts read; returns what is to be said about it."""
    lake_config.write(lake(state))
    kept = hub.write(state, issuer(state), demo_clients()["dlaas"].secret)
    hub.furnish(state, [user.name for user in users().values() if user.groups])
    return [f"a catalogue had to be written anew; the former one is {path}" for path in kept]


def parts(state: State, token_seconds: float) -> Iterator[Part]:
    """Everything, each part needing those before it."""
    rucio = lake(state)
    base = {**os.environ, "PATH": hub.search_path(), "PYTHONUNBUFFERED": "1"}
    in_rucio = lake_config.environment(rucio, base)
    module = (PYTHON, "-m")
    yield Part(
        "IAM",
        [
            *(*module, "jupyterhub_dlaas.demo.iam", "--port", str(state.ports["iam"])),
            *("--state", str(state.folder / "iam"), "--token-seconds", f"{token_seconds:g}"),
        ],
        base,
        state.folder,
        url=f"{issuer(state)}.well-known/openid-configuration",
    )
    if not rucio.complete:
        yield Part("Rucio's data", [*module, "jupyterhub_dlaas.demo.lake.bootstrap"], in_rucio, state.folder)
    yield Part("Rucio", lake_config.server_command(rucio, PYTHON), in_rucio, state.folder, url=f"{rucio.url}/ping")
    yield Part(
        "Transfers",
        [*module, "jupyterhub_dlaas.demo.lake.transfers", "--lock", str(rucio.lock)],
        in_rucio,
        state.folder,
        ready_line="ready",
    )
    yield Part(
        "JupyterHub",
        [*module, "jupyterhub", "-f", str(state.hub / "jupyterhub_config.py")],
        hub.environment(state, base),
        state.hub,
        url=f"{state.url('hub')}/hub/health",
        grace_seconds=30,  # it stops the users' servers first
    )

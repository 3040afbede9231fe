"""`python3 rucio_part.py fill | server | transfers`: the demo's Rucio, as the containers of one pod."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jupyterhub_dlaas.demo.iam.model import User, demo_clients, demo_users
from jupyterhub_dlaas.demo.lake import config
from jupyterhub_dlaas.demo.lake.config import Account, Lake

PORT = 8080


def lake() -> Lake:
    """Rucio's data in /lake; /eos/eulake_1 is what the XRootD server of this pod exports, under the users' own path."""
    client = demo_clients()["rucio"]
    extra = [User(f"user{number}", "", groups=["escape"]) for number in range(int(os.environ["EXTRA_USERS"]))]
    people = [user for user in (*demo_users().values(), *extra) if user.groups]
    return Lake(
        folder=Path("/lake/rucio"),
        mount=Path("/eos/eulake_1"),
        remote=Path("/lake/far-away/desy"),
        scratch=Path("/lake/scratch"),
        port=PORT,
        issuer=os.environ["ISSUER_URL"],
        client_id=client.client_id,
        client_secret=client.secret,
        root_password=os.environ["RUCIO_ROOT_PASSWORD"],
        accounts=tuple(Account(user.name, user.sub, user.email) for user in people),
    )


def command(part: str, rucio: Lake) -> list[str]:
    """What the container runs in the end."""
    if part == "server":
        return [word.replace("127.0.0.1:", "0.0.0.0:") for word in config.server_command(rucio, sys.executable)]
    if part == "transfers":
        return [sys.executable, "-m", "jupyterhub_dlaas.demo.lake.transfers", "--lock", str(rucio.lock)]
    return [sys.executable, "-m", "jupyterhub_dlaas.demo.lake.bootstrap"]


def main() -> None:
    part, rucio = sys.argv[1], lake()
    if part == "fill":
        config.write(rucio)
        if rucio.complete:
            return
    words = command(part, rucio)
    os.execve(words[0], words, config.environment(rucio, os.environ))


if __name__ == "__main__":
    main()

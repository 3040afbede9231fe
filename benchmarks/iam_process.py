"""The stand-in IAM with many users who are logged in already, in a process of its own.

Writes `sessions.json` (user -> token response) into the folder given, 0600, and prints one JSON line when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
from pathlib import Path

from jupyterhub_dlaas.demo.iam.model import Settings, demo_clients, demo_users
from jupyterhub_dlaas.demo.iam.server import StandInIAM


async def serve(options: argparse.Namespace) -> None:
    settings = Settings(token_seconds=options.token_seconds, token_bytes=1200)
    tls = None
    if options.tls:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.folder / "ca.pem", options.folder / "key.pem")
    iam = StandInIAM(settings=settings, users=demo_users(), clients=demo_clients(), tls=tls)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with iam:
        for number in range(options.users):
            iam.add_user(f"user{number}", groups=["escape"])
        sessions = {f"user{number}": iam.log_in(f"user{number}") for number in range(options.users)}
        subjects = {name: iam.users[name].sub for name in sessions}
        path = options.folder / "sessions.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({name: {**session, "sub": subjects[name]} for name, session in sessions.items()}, file)
        print(json.dumps({"issuer_url": iam.issuer_url}), flush=True)
        await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tls", action="store_true", help="https with ca.pem and key.pem of the folder")
    parser.add_argument("--users", type=int, default=0)
    parser.add_argument("--token-seconds", type=float, default=600)
    asyncio.run(serve(parser.parse_args()))

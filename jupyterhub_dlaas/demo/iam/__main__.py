"""`python -m jupyterhub_dlaas.demo.iam`: the stand-in IAM as a process of its own, until SIGINT or SIGTERM.

Prints one JSON line when it listens: `{"issuer_url": "http://127.0.0.1:4711/"}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import pathlib
import signal
import ssl

from jupyterhub_dlaas.demo.iam.model import Settings, demo_users
from jupyterhub_dlaas.demo.iam.server import StandInIAM


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jupyterhub_dlaas.demo.iam", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", type=pathlib.Path, help="folder in which keys, users and tokens survive")
    parser.add_argument("--issuer-url", help="if the world sees it under another address")
    parser.add_argument(
        "--redirect-uri", action="append", default=[], metavar="URI", help="the hub's client may come back there, too"
    )
    parser.add_argument("--token-seconds", type=float, default=120, help="life of access tokens (default: 120)")
    parser.add_argument("--profile", choices=("iam", "wlcg", "aarc", "kc"), default="iam")
    parser.add_argument("--key-type", choices=("RSA", "EC"), default="RSA")
    parser.add_argument("--token-bytes", type=int, default=0, help="pad access tokens to this length")
    parser.add_argument("--refuse-reuse", action="store_true", help="reuse of a refresh token kills the session")
    parser.add_argument("--latency-seconds", type=float, default=0.0, help="on every answer")
    parser.add_argument("--extra-users", type=int, default=0, help="user0 .. userN, password user0-pw, group escape")
    parser.add_argument("--tls-cert", type=pathlib.Path, help="PEM of the certificate; then it speaks https")
    parser.add_argument("--tls-key", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true", help="a line for each grant")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(asctime)s %(message)s")
    asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    tls = None
    if options.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    settings = Settings(
        token_seconds=options.token_seconds,
        profile=options.profile,
        key_type=options.key_type,
        token_bytes=options.token_bytes,
        refuse_reuse=options.refuse_reuse,
    )
    iam = StandInIAM(
        host=options.host,
        port=options.port,
        issuer_url=options.issuer_url,
        state=options.state,
        settings=settings,
        users=demo_users(),
        tls=tls,
    )
    for number in range(options.extra_users):
        iam.add_user(f"user{number}", groups=["escape"])
    iam.clients["dlaas"].redirect_uris.extend(options.redirect_uri)
    iam.faults.latency_seconds = options.latency_seconds
    ended = asyncio.Event()
    for number_ in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number_, ended.set)
    async with iam:
        print(json.dumps({"issuer_url": iam.issuer_url}), flush=True)
        await ended.wait()


if __name__ == "__main__":
    main()

"""The agent's start: it answers on `--ready-fd` with one JSON line and then renews until SIGTERM."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
from types import FrameType

from jupyterhub_dlaas.agent import credential
from jupyterhub_dlaas.agent.child import Children
from jupyterhub_dlaas.agent.files import Root
from jupyterhub_dlaas.agent.hub import Hub
from jupyterhub_dlaas.agent.renew import Agent
from jupyterhub_dlaas.agent.trouble import AgentError, one_line, say

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def run(arguments: list[str]) -> int:
    """Runs the agent. Returns the exit code of a start that failed."""
    options = _options(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    _keep_others_out()
    try:
        agent = _start(options)
    except AgentError as error:
        say(str(error))
        _tell(options.ready_fd, {"ok": False, "reason": one_line(str(error))})
        return 1
    _tell(options.ready_fd, {"ok": True})
    agent.stay()
    return 0


def _start(options: argparse.Namespace) -> Agent:
    if options.ca_file and not os.access(options.ca_file, os.R_OK):
        raise AgentError(f"--ca-file {options.ca_file} cannot be read.")
    if options.credential_file is not None:
        token = credential.from_file(options.credential_file)
    elif options.credential_secret is not None:
        token = credential.from_secret(options.credential_secret)
    else:
        token = credential.from_fd(options.credential_fd, options.start_timeout)
    children = Children()
    hub = Hub(options.hub_url, token, children, ca_file=options.ca_file)
    agent = Agent(hub, Root(options.files, exact=True), Root(options.cache, exact=False), children)
    agent.start(options.start_timeout)
    return agent


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jupyterhub_dlaas.agent",
        description="Writes this server's data lake files and keeps them fresh until it is told to end.",
        epilog="`ready --files DIR [--wait SECONDS]` instead exits 0 once the first write is complete.",
        allow_abbrev=False,
    )
    parser.add_argument("--hub-url", required=True, metavar="URL", help="the hub's URL, ending in /hub/")
    parser.add_argument("--files", required=True, metavar="DIR", help="the folder that holds exactly the hub's files")
    parser.add_argument("--cache", required=True, metavar="DIR", help="a folder where files are only ever added")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--credential-fd", type=int, metavar="N", help="an inherited pipe with the credential")
    source.add_argument("--credential-file", metavar="PATH", help="a file with the credential, 0600 or 0400")
    source.add_argument(
        "--credential-secret", metavar="PATH", help="a file of a Secret that only this container mounts"
    )
    parser.add_argument("--ready-fd", type=int, metavar="N", help="where one JSON line says how the start went")
    parser.add_argument("--ca-file", metavar="PATH", help="certificates to trust instead of the system's")
    parser.add_argument(
        "--start-timeout", type=float, default=60.0, metavar="SECONDS", help="for the first write (default 60)"
    )
    return parser.parse_args(arguments)


def _tell(fd: int | None, answer: dict[str, object]) -> None:
    if fd is None:
        return
    try:
        os.write(fd, json.dumps(answer).encode() + b"\n")
        os.close(fd)
    except OSError:  # nobody waits for the answer any more
        return


def _keep_others_out() -> None:
    """On one machine the notebook runs as the same user: without this it could read the credential from memory."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _end(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that a temporary file and a child under way go first; a second signal must not stop that.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)

"""`dlaas demo`: a whole data lake on this machine until Ctrl-C, or `--check`, which plays a scientist in it."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jupyterhub_dlaas.demo.parts import issuer, lake, parts, prepare, users
from jupyterhub_dlaas.demo.state import DemoError, State, locked, remember
from jupyterhub_dlaas.demo.supervisor import Supervisor

DEFAULT_STATE = "~/.local/share/dlaas-demo"
EXAMPLES = """examples:
  dlaas demo                        start it, then open the printed address in a browser
  dlaas demo --check                start a fresh one, play a scientist in it, stop it (about 5 minutes)
  dlaas demo --check --url URL      play the scientist in a demo that is running
  dlaas demo --state /tmp/lake      keep its data there; removing the folder removes the demo
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `demo` to the command `dlaas`."""
    parser = subparsers.add_parser(
        "demo",
        help="a whole data lake on this machine",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--state", type=Path, metavar="DIR", help=f"folder of its data (default: {DEFAULT_STATE})")
    parser.add_argument("--port", type=int, help="the hub's port (default: 8000 or a free one, then always the same)")
    parser.add_argument(
        "--token-seconds", type=float, default=120, metavar="N", help="life of IAM's tokens (default: %(default)g)"
    )
    parser.add_argument("--check", action="store_true", help="play a scientist: a table of steps, exit 1 at a failure")
    parser.add_argument("--url", help="with --check: a demo that is running already")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code. 1 for a part or a step that failed."""
    if options.check and options.url:
        return _check(options.url, options.token_seconds)
    try:
        if options.check and options.state is None:
            return _check_afresh(options)
        folder = (options.state or Path(DEFAULT_STATE)).expanduser().resolve()
        return _start(folder, options)
    except DemoError as error:
        print(error.sentence(), file=sys.stderr)
        return 1


def _check_afresh(options: argparse.Namespace) -> int:
    # A short path: the sockets of Jupyter do not like deep ones.
    folder = Path(tempfile.mkdtemp(prefix="dlaas-demo-")).resolve()
    code = _start(folder, options)
    if code == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _start(folder: Path, options: argparse.Namespace) -> int:
    with locked(folder):
        state = remember(folder, options.port)
        return asyncio.run(_run(state, options))


async def _run(state: State, options: argparse.Namespace) -> int:
    say = progress()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    supervisor = Supervisor(state.logs, say)
    work = asyncio.create_task(_work(supervisor, state, options, say))
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        # Stopping a demo is how it ends well; a check that was interrupted has shown nothing.
        return work.result() if work.done() else 130 if options.check else 0
    finally:
        for task in (work, stopped):
            task.cancel()
        with suppress(asyncio.CancelledError, DemoError):
            await work
        say("stopping: servers, hub, Rucio, IAM ...")
        await supervisor.stop()
        say("stopped")


async def _work(supervisor: Supervisor, state: State, options: argparse.Namespace, say: Callable[[str], None]) -> int:
    say(f"{'first start' if state.new else 'starting again'}, data in {state.folder}")
    for sentence in prepare(state):
        say(sentence)
    for part in parts(state, options.token_seconds):
        await supervisor.start(part)
    if not options.check:
        print(welcome(state, options.token_seconds), flush=True)
        await supervisor.watch()
    watch = asyncio.create_task(supervisor.watch())
    checking = asyncio.create_task(_check_process(state, options.token_seconds))
    try:
        await asyncio.wait({watch, checking}, return_when=asyncio.FIRST_COMPLETED)
        if watch.done():
            watch.result()  # a part died for good
        code = await checking
    finally:
        watch.cancel()
        checking.cancel()
    if code:
        say(f"the logs of all parts stay in {state.logs}")
    return code


async def _check_process(state: State, token_seconds: float) -> int:
    process = await asyncio.create_subprocess_exec(*_check_command(state.url("hub"), token_seconds))
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _check(url: str, token_seconds: float) -> int:
    return subprocess.run(_check_command(url, token_seconds), check=False).returncode


def _check_command(url: str, token_seconds: float) -> list[str]:
    module = "jupyterhub_dlaas.demo.check"
    return [sys.executable, "-m", module, "--url", url, "--token-seconds", f"{token_seconds:g}"]


def progress() -> Callable[[str], None]:
    """Prints lines with the seconds since the demo began."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {line}", flush=True)

    return say


def welcome(state: State, token_seconds: float) -> str:
    """What to do now."""
    iam = issuer(state).rstrip("/")
    who = [
        f"    {user.name:6} password {user.password:9}  "
        + (f"in {', '.join(user.groups)}" if user.groups else "in no VO: logs in and is told so")
        for user in users().values()
    ]
    rule = "=" * 88
    return "\n".join(
        [
            rule,
            "",
            f"  The data lake is ready:  {state.url('hub')}",
            "",
            *who,
            "",
            "  What to try",
            "    1. Log in as alice, choose Astronomy, and open `Start here.ipynb` in JupyterLab.",
            "       Nothing asks for a password again.",
            "    2. The Rucio panel on the left: search cta:*crab*, make a file available (it is copied from",
            "       DESY-DCACHE to EULAKE-1), then add it to a notebook and open it with astropy.",
            "    3. In a terminal:  rucio whoami   ·   datalake status   ·   rucio download cta:crab_run0001.fits",
            "    4. mkdir $SCRATCH/run; date > $SCRATCH/run/a.txt; datalake upload $SCRATCH/run --qos SAFE --wait",
            "       copies it to DESY-DCACHE; then Rucio removes it from the scratch folder.",
            f"    5. Tokens live {token_seconds:g} s here. Leave it for a while: everything goes on working.",
            f"       {state.url('hub')}/hub/dlaas/status shows each renewal.",
            "",
            "  What to break (in another terminal)",
            f'    curl --json \'{{"endpoint": "refresh", "status": 503}}\' {iam}/control/faults    IAM fails ...',
            f"    curl -X DELETE {iam}/control/faults                                        ... and recovers",
            f'    curl --json \'{{"refuse": "eos-eulake"}}\' {iam}/control/audiences            EOS is refused',
            f"    curl --json '{{\"active\": false}}' {iam}/control/users/alice                alice is suspended",
            "",
            f"  Catalogues to change: {state.hub / 'catalogue.d'}",
            f"  Rucio {lake(state).url}, its administrator: RUCIO_CONFIG={lake(state).cfg} rucio whoami",
            f"  Logs: {state.logs}",
            "  Ctrl-C stops everything; the next start finds its data again.",
            "",
            rule,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="dlaas demo", description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()

"""`python -m jupyterhub_dlaas.demo.check --url URL`: the steps as a table; exit 1 at the first that fails."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from jupyterhub_dlaas.demo.check.scientist import Person, Scientist
from jupyterhub_dlaas.demo.check.web import Browser, Failed

Step = tuple[str, Callable[[], Awaitable[str]]]


def steps(scientist: Scientist, wait_seconds: float) -> list[Step]:
    """A day in order; what is done with data is done again after the tokens of the start have expired."""
    work: list[Step] = [
        ("rucio whoami", scientist.whoami),
        ("find in the panel", scientist.find),
        ("make available", scientist.make_available),
        ("read it in a kernel", scientist.read_file),
        ("rucio download", scientist.download),
        ("datalake upload", scientist.upload),
    ]
    return [
        ("log in", scientist.log_in),
        ("server options", scientist.options),
        ("start", scientist.start),
        *work,
        ("wait two token lifetimes", lambda: scientist.wait(wait_seconds)),
        *((f"{name} again", step) for name, step in work),
        ("stop", scientist.stop),
    ]


async def play(url: str, person: Person, wait_seconds: float) -> int:
    """Goes through all steps; returns the exit code."""
    began = time.monotonic()
    async with Browser(url) as browser:
        scientist = Scientist(browser, person, lambda text: print(f"      {text}", flush=True))
        everything = steps(scientist, wait_seconds)
        print(f"\n{'step':28} {'seconds':>8}  what was seen\n{'-' * 28} {'-' * 8}  {'-' * 40}", flush=True)
        for name, step in everything:
            started = time.monotonic()
            try:
                seen = await step()
            except Failed as problem:
                print(f"{name:28} {time.monotonic() - started:8.1f}  FAILED: {problem}", flush=True)
                print(f"\nFailed at: {name}", file=sys.stderr)
                return 1
            print(f"{name:28} {time.monotonic() - started:8.1f}  {seen}", flush=True)
    print(f"{'-' * 28} {'-' * 8}\n{f'all {len(everything)} steps':28} {time.monotonic() - began:8.1f}\n", flush=True)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jupyterhub_dlaas.demo.check", description=__doc__)
    parser.add_argument("--url", required=True, help="the hub's address")
    parser.add_argument("--user", default="alice")
    parser.add_argument("--password", help="default: the user's name and -pw")
    parser.add_argument("--environment", default="escape/astronomy", help="default: %(default)s")
    parser.add_argument("--token-seconds", type=float, default=120, help="life of IAM's tokens (default: %(default)g)")
    options = parser.parse_args()
    person = Person(options.user, options.password or f"{options.user}-pw", options.environment)
    # A little over two lifetimes: every token of the start is long dead by then, and so is its successor.
    sys.exit(asyncio.run(play(options.url, person, 2 * options.token_seconds + 10)))


if __name__ == "__main__":
    main()

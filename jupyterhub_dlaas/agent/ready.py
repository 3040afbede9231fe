"""The question whether an agent's first write is complete: a folder's marker, and waiting for it.

A pod's notebook container starts when the answer is there, so each millisecond counts: no argparse, no JSON.
"""

from __future__ import annotations

import os
import stat
import time

from jupyterhub_dlaas.agent.trouble import say

MARKER = ".dlaas-ready"
_USAGE = "Usage: python -m jupyterhub_dlaas.agent ready --files DIR [--wait SECONDS]"
_LOOK_AGAIN_SECONDS = 0.02


def ready(arguments: list[str]) -> int:
    """Exit code 0 once the files are complete, 1 where they are not after `--wait` seconds, 2 for a wrong question."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    files = options.pop("--files", "")
    try:
        wait_seconds = float(options.pop("--wait", "0"))
    except ValueError:
        wait_seconds = -1.0
    if len(arguments) % 2 or options or not files or not 0 <= wait_seconds < float("inf"):
        say(_USAGE)
        return 2
    deadline = time.monotonic() + wait_seconds
    while not is_marked(files):
        left = deadline - time.monotonic()
        if left <= 0:
            waited = f" after {wait_seconds:g} seconds" if wait_seconds else " yet"
            say(f"The files in {files} are not complete{waited}.")
            return 1
        time.sleep(min(_LOOK_AGAIN_SECONDS, left))
    return 0


def is_marked(folder: str) -> bool:
    """Whether an agent has written everything in `folder` at least once."""
    try:
        return stat.S_ISREG(os.lstat(os.path.join(folder, MARKER)).st_mode)
    except OSError:
        return False

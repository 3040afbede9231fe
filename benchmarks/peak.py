"""A command's peak resident memory.

Linux counts what a process had before `exec` to its peak, so one that a large process starts begins with that one's. A
small process in between starts the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

_BETWEEN = """
import os, subprocess, sys
command = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(command.pid, 0)
os.write(int(sys.argv[1]), str(used.ru_maxrss).encode())
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak(command: list[str], environ: Mapping[str, str], out: IO[bytes] | int) -> tuple[float, int, str]:
    """MB at most, exit code, and what came on standard error; standard output goes to `out`."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as told:
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BETWEEN, str(writing), *command],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            pass_fds=[writing],
            text=True,
        )
        os.close(writing)
        errors = started.communicate()[1]
        return int(told.read() or 0) / 1000, started.returncode, errors

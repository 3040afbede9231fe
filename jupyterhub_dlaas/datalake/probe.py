"""Whether a folder answers, asked in a child: on a dead FUSE or NFS mount a call never returns."""

from __future__ import annotations

import subprocess
import sys

_CHILD = "import os, sys\nwith os.scandir(sys.argv[1]) as entries: next(entries, None)"


def problem_of(path: str, *, limit_seconds: float) -> str:
    """Why the folder cannot be listed, in a sentence; "" when it can."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = child.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        child.kill()  # and no wait: in a dead mount even SIGKILL takes effect only when the mount comes back
        return f"It does not answer within {limit_seconds:.0f} s."
    if child.returncode == 0:
        return ""
    return _SENTENCES.get(errors.strip().splitlines()[-1].partition(":")[0] if errors else "", "") or (
        "It is not connected (" + errors.strip().rpartition("] ")[2].partition(":")[0] + ")."
    )


_SENTENCES = {
    "FileNotFoundError": "It is not there.",
    "PermissionError": "You have no permission to look into it.",
    "NotADirectoryError": "It is not a folder.",
}

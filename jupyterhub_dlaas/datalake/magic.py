"""`%datalake` in notebooks: `paths = %datalake path cta:events` gives Python the paths; other commands show themselves.

Loaded into IPython by the hub's startup file. By hand: `%load_ext jupyterhub_dlaas.datalake.magic`.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from typing import IO, Any

_LINES = ("path", "pfn")  # commands whose lines are what a program wants


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython."""
    shell.register_magic_function(datalake, "line", "datalake")


def datalake(line: str) -> list[str] | None:
    """The command `datalake` with these arguments. Of `path` and `pfn` its lines are returned, as texts.

    `{name}` and `$name` are variables of the notebook. What fails is an error of the cell, with the command's own
    sentence and no traceback.

        paths = %datalake path cta:events --wait
        events = Table.read(paths[0])
    """
    from IPython.core.error import UsageError

    arguments = shlex.split(line) or ["--help"]
    wanted = arguments[0] in _LINES and not {"--json", "--help", "-h"} & set(arguments)
    if wanted and arguments[0] == "path":
        arguments.append("--null")
    code, out, said = _run(arguments, show=not wanted, tell="--wait" in arguments or not wanted)
    if code:
        raise UsageError("\n".join(said).strip() or f"datalake {arguments[0]} ended with exit code {code}.")
    if not wanted:
        return None
    return out.split("\0")[:-1] if arguments[0] == "path" else out.splitlines()


def _run(arguments: list[str], *, show: bool, tell: bool) -> tuple[int, str, list[str]]:
    """`show`: its standard output as it comes; `tell`: its standard error.

    A process of its own, so that the notebook's own signals, clients and settings stay as they are."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterhub_dlaas.datalake.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        start_new_session=True,  # the kernel's interrupt is passed on once, below
    )
    out: list[str] = []
    said: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    readers = [
        threading.Thread(target=_read, args=(process.stdout, out, sys.stdout if show else None)),
        threading.Thread(target=_read, args=(process.stderr, said, sys.stderr if tell else None)),
    ]
    for reader in readers:
        reader.start()
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    finally:
        for reader in readers:
            reader.join()
    return code, "".join(out), [line.rstrip("\n") for line in said]


def _read(stream: IO[str], kept: list[str], shown: Any) -> None:
    """Keeps the lines that are wanted; shows the others as they come."""
    for line in stream:
        if shown is None:
            kept.append(line)
        else:
            shown.write(line)

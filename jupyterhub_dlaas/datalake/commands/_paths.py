"""How `path` prints its answer: all of it or, unless told otherwise, nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from typing import BinaryIO

from jupyterhub_dlaas.datalake import console
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.local import Answer, can_be_brought


def print_paths(answers: Iterable[Answer], *, again: str, partial: bool, null: bool, as_json: bool) -> None:
    """Prints the paths. A Failure when there are none, or some files are missing: then `again` is what to do, or "".

    Half a million paths take no memory: they wait in a temporary file until it is sure that all are here.
    """
    here = missing = lost = 0
    with tempfile.TemporaryFile() as kept:
        to: BinaryIO = sys.stdout.buffer if partial else kept
        here = missing = 0
        for file, path, why in answers:
            if as_json:
                console.json_line({"did": str(file.did), "path": path and str(path), "bytes": file.bytes, "why": why})
            elif path is not None:
                _write(to, str(path), null)
            here += path is not None
            lost += not can_be_brought(why)
            missing += path is None
            if path is None and not as_json and missing <= console.FEW:
                console.note(f"{console.printable(str(file.did))}: {why}")
        if not here + missing:
            raise Failure("There are no files in it.", code=Code.NOT_FOUND)
        if missing:
            more = f", and {missing - console.FEW:,} more" if missing > console.FEW and not as_json else ""
            of = "The file is" if here + missing == 1 else f"{missing:,} of {here + missing:,} files are"
            advice = f"Bring it here with: {again}" if again else ""
            if lost == missing:
                advice = "If the mount is well (datalake status), tell your VO's data managers."
            raise Failure(f"{of} not here{more}.", advice, Code.NOT_HERE)
        sys.stdout.flush()
        kept.seek(0)
        shutil.copyfileobj(kept, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _write(to: BinaryIO, path: str, null: bool) -> None:
    if "\n" in path and not null:
        raise Failure(f"{path!r} has a line break in it.", "Use -0 or --json.", Code.USAGE)
    to.write(os.fsencode(path) + (b"\0" if null else b"\n"))

"""Copying a file between two storages, and whether what arrived is what the catalogue promises."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

_BLOCK = 4 * 2**20


def path_of(pfn: str) -> Path:
    """`file://host/a/b` -> `/a/b`, and `%20` stays `%20`: Rucio's own protocol for files decodes nothing."""
    return Path("/" + pfn.removeprefix("file://").partition("/")[2])


def copy(source: Path, destination: Path) -> str:
    """Copies by way of a temporary name, so that a reader never sees half a file; returns the problem, if any."""
    partial = destination.with_name(f".{destination.name}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        os.replace(partial, destination)
    except OSError as error:
        return f"cannot copy {source}: {error.strerror or error}"
    return ""


def difference(path: Path | None, size: int, adler32: str | None) -> str:
    """How a file differs from what the catalogue says of it; empty when it does not."""
    if path is None or not path.is_file():
        return f"{path} is not there"
    if path.stat().st_size != size:
        return f"{path} has {path.stat().st_size} bytes instead of {size}"
    if adler32 and checksum(path) != adler32:
        return f"{path} has adler32 {checksum(path)} instead of {adler32}"
    return ""


def checksum(path: Path) -> str:
    """adler32 as Rucio writes it: eight lower-case hexadecimal digits."""
    value = 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.adler32(block, value)
    return f"{value:08x}"

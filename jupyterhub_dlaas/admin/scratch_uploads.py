"""Uploads that are not done: what their journals name is spared, though it is old and Rucio does not know it yet."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.journal import SUFFIX
from jupyterhub_dlaas.errors import ConfigError

_LONGEST_LINE = 1 << 20


class Uploads:
    """Paths, relative to the area, that are being uploaded: each a file, or a folder with all that is in it."""

    def __init__(self, paths: Iterable[bytes] = ()) -> None:
        self._paths = frozenset(paths)

    def has(self, path: bytes) -> bool:
        """Whether the path is one of them or below one."""
        if not self._paths:
            return False
        parts = path.split(b"/")
        return any(b"/".join(parts[:end]) in self._paths for end in range(1, len(parts) + 1))


def uploads(pattern: str, users: Iterable[bytes], *, area: str, seen_as: str, since: float) -> Uploads:
    """The uploads of these users that are at work, or were since `since` (epoch seconds).

    `pattern` has `{user}` where a user's name belongs, which is that of their own folder in the area. Journals name
    paths as their user sees them: below `seen_as`, where servers have the user's own folder, or below `area`. Nobody's
    journal spares what is others'. Raises ConfigError for a pattern without {user}, or a journal that cannot be read.
    """
    if "{user}" not in pattern:
        raise ConfigError(f"--journals {pattern} does not say where a user's name belongs: write {{user}} there.")
    return Uploads(
        path
        for user in users
        for named in _paths(Path(pattern.replace("{user}", os.fsdecode(user))), since)
        if (path := _in_area(named, user, area, seen_as)) is not None
    )


def _in_area(path: str, user: bytes, area: str, seen_as: str) -> bytes | None:
    own = os.path.join(area, os.fsdecode(user))
    for top in (own, seen_as.rstrip("/")):
        if path == top:
            return user
        if path.startswith(f"{top}/"):
            return user + os.fsencode(path[len(top) :])
    return None


def _paths(folder: Path, since: float) -> Iterator[str]:
    """What the journals in the folder name that are open; nothing where there is no such folder."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
        for name in names:
            yield from _open_paths(folder / name, since)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        sentence = f"{error.filename} may not be read, and might name anything in the area. Nothing was removed."
        raise ConfigError(sentence) from error


def _open_paths(file: Path, since: float) -> list[str]:
    try:
        # Users own these folders: what they put there is not waited for, and no link is followed.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOENT, errno.ENXIO}:
            return []
        raise
    with os.fdopen(descriptor, "rb") as journal:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or (about.st_mtime < since and not _locked(descriptor)):
            return []
        return _named(journal.readline(_LONGEST_LINE))


def _named(line: bytes) -> list[str]:
    """The paths in the first line; none in one that a kill cut off, before anything was done."""
    try:
        about: Any = json.loads(line)
    except (ValueError, RecursionError):
        return []
    named = about.get("paths") if isinstance(about, dict) else None
    return [path for path in named if isinstance(path, str)] if isinstance(named, list) else []


def _locked(descriptor: int) -> bool:
    """Whether an upload has it open now: it holds an exclusive lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False

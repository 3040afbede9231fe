"""A scratch area, looked at and cleared by descriptors alone.

Its users own what lies in it and may change it at any time, also while an administrator's program works there: every
folder is opened from the one above it, no link is followed, and nothing that is mounted inside is entered.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jupyterhub_dlaas.errors import ConfigError

Kind = Literal["file", "link", "folder", "other"]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What it means that somebody was faster: gone, or a link where a folder was; not empty any more.
_CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR}
_MOST_LINKS = 40  # as the kernel's own limit, path_resolution(7)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder as it was when it was looked at. `name` in the system's own bytes; times in epoch seconds.

    `used_at`: when it was last written, changed or read; of a folder, when something in it came or went.
    """

    name: bytes
    kind: Kind
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    used_at: float


class Area:
    """The folder `path`, opened once. Paths inside are relative to it, in bytes; b"" is the area itself."""

    def __init__(self, path: str) -> None:
        try:
            real = Path(path).resolve(strict=True)
            self._root = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"--path {path} cannot be opened as a folder: {error.strerror}.") from error
        self.path = str(real)
        self._device = os.fstat(self._root).st_dev
        self._mounts = _mounts_below(os.fsencode(self.path))

    def close(self) -> None:
        """Lets the folder go."""
        os.close(self._root)

    def entries(self, folder: bytes) -> Iterator[Entry]:
        """What is in a folder; raises OSError where it cannot be read. What vanishes meanwhile is left out."""
        with self._opened(folder) as descriptor, os.scandir(descriptor) as found:
            for each in found:
                # A scan by descriptor names entries as text; os.fsencode gives the bytes back.
                name = os.fsencode(each.name)
                if join(folder, name) in self._mounts:
                    yield Entry(name, "other", 0, 0, 0, 0, 0.0)
                    continue
                try:
                    yield self._entry(name, os.stat(name, dir_fd=descriptor, follow_symlinks=False))
                except FileNotFoundError:
                    continue

    def remove(self, path: bytes, as_it_was: Entry) -> bool:
        """Removes a file or link if it is still what was found, or a folder if that is empty; else False.

        Raises OSError where the system does not let it.
        """
        above, _, name = path.rpartition(b"/")
        try:
            with self._opened(above) as descriptor:
                now = self._entry(name, os.stat(name, dir_fd=descriptor, follow_symlinks=False))
                if not _same(now, as_it_was):
                    return False
                if now.kind == "folder":
                    os.rmdir(name, dir_fd=descriptor)
                else:
                    os.unlink(name, dir_fd=descriptor)
        except OSError as error:
            if error.errno in _CHANGED:
                return False
            raise
        return True

    def inode(self, path: bytes) -> tuple[int, bool] | None:
        """The inode of what a path leads to, as the storage's own server would open it, and whether by a detour.

        None: it is not there, or not in this area. Links are followed inside the area only, by hand.
        """
        waiting, done, links = path.split(b"/"), list[bytes](), 0
        dots = b".." in waiting or b"." in waiting
        plain = None if dots else self._look(path)
        if plain is not None and plain.kind != "link":
            return plain.inode, False
        while True:
            part = waiting.pop(0) if waiting else b""
            if part == b"..":
                if not done:
                    return None
                done.pop()
            elif part not in {b"", b"."}:
                done.append(part)
            here = b"/".join(done)
            found = self._look(here) if here not in self._mounts else None
            if found is None:
                return None
            if found.kind == "link":
                links += 1
                target = self._target(here)
                if links > _MOST_LINKS or target is None:
                    return None
                done.pop()
                if target.startswith(b"/"):
                    root = os.fsencode(self.path) + b"/"
                    if not target.startswith(root):
                        return None
                    done, target = [], target.removeprefix(root)
                waiting = target.split(b"/") + waiting
            if not waiting:
                return found.inode, bool(links) or dots

    def _look(self, path: bytes) -> Entry | None:
        if not path:
            return self._entry(b"", os.fstat(self._root))
        above, _, name = path.rpartition(b"/")
        try:
            with self._opened(above) as descriptor:
                return self._entry(name, os.stat(name, dir_fd=descriptor, follow_symlinks=False))
        except OSError:
            return None

    def _target(self, path: bytes) -> bytes | None:
        above, _, name = path.rpartition(b"/")
        try:
            with self._opened(above) as descriptor:
                return os.readlink(name, dir_fd=descriptor)
        except OSError:
            return None

    @contextmanager
    def _opened(self, folder: bytes) -> Iterator[int]:
        descriptor = os.dup(self._root)
        try:
            for part in folder.split(b"/") if folder else ():
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
                if os.fstat(descriptor).st_dev != self._device:
                    raise NotADirectoryError(errno.ENOTDIR, "is on another file system", os.fsdecode(folder))
            yield descriptor
        finally:
            os.close(descriptor)

    def _entry(self, name: bytes, about: os.stat_result) -> Entry:
        mode = about.st_mode
        kind: Kind = "file" if stat.S_ISREG(mode) else "link" if stat.S_ISLNK(mode) else "other"
        if stat.S_ISDIR(mode) and about.st_dev == self._device:
            kind = "folder"
        # A program may write old times into a file that it unpacks today: the inode's own change counts, too.
        used_at = about.st_mtime if kind == "folder" else max(about.st_mtime, about.st_ctime, about.st_atime)
        inode = about.st_ino & (2**63 - 1)  # SQLite's largest integer
        return Entry(name, kind, inode, about.st_size, about.st_mtime_ns, about.st_ctime_ns, used_at)


def join(folder: bytes, name: bytes) -> bytes:
    """A path inside the area."""
    return folder + b"/" + name if folder else name


def _same(now: Entry, before: Entry) -> bool:
    """Whether it is what was found. A folder changes by what is taken out of it; whether it is empty, rmdir decides."""
    if now.kind == "folder":
        return before.kind == "folder" and now.inode == before.inode
    return now == before


def _mounts_below(root: bytes) -> frozenset[bytes]:
    """What is mounted inside, relative to the root: a bind mount of the same file system has the same device."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return frozenset()
    # proc_pid_mountinfo(5): the fifth field, with octal escapes for space, tab, newline and backslash.
    points = [line.split(b" ")[4] for line in lines]
    for escaped, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        points = [point.replace(escaped, plain) for point in points]
    below = root.rstrip(b"/") + b"/"
    return frozenset(point.removeprefix(below) for point in points if point.startswith(below))

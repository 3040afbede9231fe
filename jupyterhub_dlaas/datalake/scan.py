"""The files below what a person named: streamed, so that half a million take no memory, and never by a link."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jupyterhub_dlaas.datalake.failure import Code, Failure

Skip = Callable[[str, str], None]  # path, and why it is left out


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file as it was when it was looked at. `relative`: below the parent of what was named, with `/`."""

    path: str
    relative: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @property
    def mark(self) -> bytes:
        """16 bytes that stand for this path with this content: another size, time or inode makes another mark."""
        text = f"{self.path}\0{self.size}\0{self.mtime_ns}\0{self.inode}"
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()

    @property
    def folder(self) -> str:
        """The folder part of `relative`; "" for a file that was named itself."""
        return self.relative.rpartition("/")[0]

    def same_as(self, status: os.stat_result) -> bool:
        """Whether this is still what was found."""
        return (self.size, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


def roots(paths: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """The real paths of what was named, each once; a path inside another named one is part of that.

    A link that is named itself is meant: it is followed. A Failure (NOT_FOUND) for a path that is not there.
    """
    real = []
    for path in paths:
        if not os.path.exists(path):
            raise Failure(f"{os.fspath(path)} is not there.", "Check the path.", Code.NOT_FOUND)
        real.append(os.path.realpath(path))
    unique = dict.fromkeys(real)
    return tuple(path for path in unique if not any(path != other and inside(path, other) for other in unique))


def inside(path: str, folder: str) -> bool:
    """Whether the path is the folder or below it, by name."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def scan(named: Iterable[str], on_skip: Skip) -> Iterator[Found]:
    """Every regular file at or below the real paths, folder by folder, in the order of the storage.

    Links, sockets and the like are left out, said by `on_skip`; so is a folder that cannot be read. Files that vanish
    while they are looked at are left out silently, as if they had gone before.
    """
    for root in named:
        above = os.path.dirname(root).rstrip("/") + "/"
        try:
            status = os.stat(root, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _below(root, len(above), on_skip)
        elif stat.S_ISREG(status.st_mode):
            yield _found(root, len(above), status)
        else:
            on_skip(root, "it is neither a file nor a folder")


def _below(folder: str, cut: int, on_skip: Skip) -> Iterator[Found]:
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            entries = os.scandir(here)
        except FileNotFoundError:
            continue
        except OSError as error:
            on_skip(here, f"the folder cannot be read ({error.strerror})")
            continue
        with entries:
            for entry in entries:
                try:
                    if entry.is_symlink():
                        on_skip(entry.path, "it is a link, and links are not followed")
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield _found(entry.path, cut, entry.stat(follow_symlinks=False))
                    else:
                        on_skip(entry.path, "it is neither a file nor a folder")
                except FileNotFoundError:
                    continue


def _found(path: str, cut: int, status: os.stat_result) -> Found:
    return Found(path, path[cut:], status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

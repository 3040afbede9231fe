"""Writing files so that a reader never sees one missing, short or wider than its owner.

Everything goes by directory descriptor and follows no link, because the folders may be in the reach of a user's code.
A file comes into being under a temporary name and is renamed: eosxd, for one, takes a token file that is missing or
short for a moment as a reason to forget its user for minutes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from jupyterhub_dlaas.agent.bundle import OWN_PREFIX, File
from jupyterhub_dlaas.agent.ready import MARKER
from jupyterhub_dlaas.agent.trouble import AgentError, reason

_TEMPORARY = OWN_PREFIX + "new-"
_DEEPEST = 64  # each level takes a descriptor while it is emptied
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_Look = tuple[int, int, int, int]  # inode, size, mode, mtime in ns


class Root:
    """A folder that the agent writes into. An `exact` one holds the bundle's files and nothing else."""

    def __init__(self, path: str, *, exact: bool) -> None:
        self.path = os.path.abspath(path)
        self._exact = exact
        self._cleaned: set[str] = set()  # folders looked through for what a killed agent left behind
        self._written: dict[str, _Look] = {}
        self.in_place = 0  # how many files of the last `write` are as they should be

    def write(self, files: Collection[File]) -> list[str]:
        """Brings the folder to `files`. Returns a sentence for each that could not be written; its old content stays.

        Raises AgentError where the folder itself cannot be used.
        """
        problems = []
        self.in_place = 0
        with self._open() as root:
            for file in files:
                try:
                    self._one(root, file)
                    self.in_place += 1
                except OSError as error:
                    self._written.pop(file.path, None)
                    problems.append(f"{file.path} could not be written: {reason(error)}.")
            if self._exact:
                keep = {file.path for file in files}
                self._written = {path: look for path, look in self._written.items() if path in keep}
                try:
                    _sweep(root, "", keep)
                except OSError as error:
                    problems.append(f"Files that are not wanted any more could not be removed: {reason(error)}.")
        return problems

    def intact(self) -> bool:
        """Whether every `always` file is still there as it was written."""
        try:
            with self._open() as root:
                return all(_look_at(root, path) == look for path, look in self._written.items())
        except (OSError, AgentError):
            return False

    def mark(self, complete: bool) -> None:
        """Sets or removes the sign that the first write is complete, which `ready` waits for. Raises AgentError."""
        with self._open() as root:
            try:
                if complete:
                    _replace(root, MARKER, 0o600, b"")
                else:
                    _unlink(root, MARKER)
            except OSError as error:
                raise AgentError(f"{self.path} cannot be written: {reason(error)}.") from None

    @contextmanager
    def _open(self) -> Iterator[int]:
        """A descriptor of the folder, made 0700 where it is new, and opened anew each time: it may be replaced."""
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            try:
                os.mkdir(self.path, 0o700)
            except FileExistsError:
                pass
            else:
                self._cleaned.clear()
            root = os.open(self.path, _DIRECTORY)
        except OSError as error:
            raise AgentError(f"The folder {self.path} cannot be used: {reason(error)}.") from None
        try:
            status = os.fstat(root)
            if status.st_uid not in (0, os.geteuid()):
                raise AgentError(f"The folder {self.path} belongs to another user.", hopeless=True)
            if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                os.fchmod(root, 0o700)
            yield root
        finally:
            os.close(root)

    def _one(self, root: int, file: File) -> None:
        folder, _, name = file.path.rpartition("/")
        directory = _enter(root, folder, replace=self._exact)
        try:
            if folder not in self._cleaned:
                _remove_temporaries(directory)
                self._cleaned.add(folder)
            there = _lstat(directory, name)
            if file.once:
                if there is None:
                    _replace(directory, name, file.mode, file.content)
                return
            if not (there and _is_same(directory, name, file)):
                if there and stat.S_ISDIR(there.st_mode) and self._exact:
                    _remove_tree(directory, name, file.path)
                _replace(directory, name, file.mode, file.content)
            self._written[file.path] = _look(os.stat(name, dir_fd=directory, follow_symlinks=False))
        finally:
            os.close(directory)


def _enter(root: int, folder: str, *, replace: bool) -> int:
    """Opens `folder` below `root`, making what is missing; a link or file in its place is removed or an OSError."""
    directory = os.dup(root)
    try:
        for part in folder.split("/") if folder else ():
            there = _lstat(directory, part)
            if there and not stat.S_ISDIR(there.st_mode) and replace:
                os.unlink(part, dir_fd=directory)
                there = None
            if there is None:
                os.mkdir(part, 0o700, dir_fd=directory)
                os.fsync(directory)
            below = os.open(part, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
            if replace and os.fstat(directory).st_mode & 0o777 != 0o700:
                os.fchmod(directory, 0o700)
    except BaseException:
        os.close(directory)
        raise
    return directory


def _replace(directory: int, name: str, mode: int, content: bytes) -> None:
    temporary = _TEMPORARY + os.urandom(8).hex()
    try:
        fd = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
        )
        try:
            os.fchmod(fd, mode)
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
            _make_mtime_differ(fd, _lstat(directory, name))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:  # a signal that ends the agent, too
        _unlink(directory, temporary)
        raise
    os.fsync(directory)


def _make_mtime_differ(fd: int, old: os.stat_result | None) -> None:
    """eosxd looks at a token again only when its mtime is another; clocks of file systems tick in steps."""
    for step in (0, 1, 1000, 10**6, 10**9, 2 * 10**9):
        if old is None or os.fstat(fd).st_mtime_ns != old.st_mtime_ns:
            return
        os.utime(fd, ns=(old.st_atime_ns, old.st_mtime_ns + max(step, 1)))


def _is_same(directory: int, name: str, file: File) -> bool:
    # O_NONBLOCK: a planted FIFO must not hold the agent up.
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        wanted = (True, file.mode, os.geteuid(), 1, len(file.content))
        found = (
            stat.S_ISREG(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink, status.st_size,
        )  # fmt: skip
        return found == wanted and os.read(fd, len(file.content) + 1) == file.content
    finally:
        os.close(fd)


def _sweep(directory: int, prefix: str, keep: Collection[str]) -> None:
    """Removes what `keep` does not list, and folders that nothing in it needs."""
    if prefix.count("/") > _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, "Folders are nested too deeply")
    for name in os.listdir(directory):
        path = prefix + name
        if path in keep or (not prefix and name.startswith(OWN_PREFIX) and not name.startswith(_TEMPORARY)):
            continue
        there = _lstat(directory, name)
        if there and stat.S_ISDIR(there.st_mode):
            if any(wanted.startswith(path + "/") for wanted in keep):
                below = os.open(name, _DIRECTORY, dir_fd=directory)
                try:
                    _sweep(below, path + "/", keep)
                finally:
                    os.close(below)
            else:
                _remove_tree(directory, name, path)
        else:
            _unlink(directory, name)


def _remove_tree(directory: int, name: str, path: str) -> None:
    below = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        _sweep(below, path + "/", ())
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=directory)


def _remove_temporaries(directory: int) -> None:
    for name in os.listdir(directory):
        if name.startswith(_TEMPORARY):
            _unlink(directory, name)


def _unlink(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def _lstat(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _look_at(root: int, path: str) -> _Look:
    directory = os.dup(root)
    *folders, name = path.split("/")
    try:
        for part in folders:
            below = os.open(part, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        return _look(os.stat(name, dir_fd=directory, follow_symlinks=False))
    finally:
        os.close(directory)


def _look(status: os.stat_result) -> _Look:
    return status.st_ino, status.st_size, status.st_mode, status.st_mtime_ns

"""Who a server runs as on one machine, and its private folders.

As root, every server belongs to a system user: the folders are made empty in a folder of root's and given to that user,
and from then on only processes of that user write in them. Otherwise all servers share the hub's own user.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.errors import ConfigError, OptionsError

_SMALLEST_UID = 1000
_CACHE_SUFFIX = ".cache"


@dataclass(frozen=True)
class Account:
    """A system user that servers and agents can run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def account_of(user: str, system_group: str) -> Account:
    """The system user of that name, who must be a member of `system_group` and no system account.

    Raises ConfigError without a usable group, OptionsError for anybody else: a person who
    calls themselves `postgres` at IAM gets nothing.
    """
    wanted = members_of(system_group)
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise OptionsError(
            f"There is no system account {user!r} on this machine.",
            hint="Ask its administrators.",
            status=403,
        ) from None
    groups = tuple(os.getgrouplist(user, entry.pw_gid))
    if entry.pw_uid < _SMALLEST_UID:
        raise OptionsError(
            f"The system account {user!r} may not have a server: uids below {_SMALLEST_UID} are the system's own.",
            hint="Ask the administrators of this machine.",
            status=403,
        )
    if wanted not in groups:
        raise OptionsError(
            f"The system account {user!r} may not have a server: it is not a member of the group {system_group}.",
            hint="Ask the administrators of this machine.",
            status=403,
        )
    return Account(user, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def need_root() -> None:
    """Raises ConfigError when servers could not be given to system users."""
    if os.geteuid() != 0:
        raise ConfigError(
            "The hub is not run by root, so all servers would run as one user and could read each other's tokens.",
            hint="Run it as root with c.LocalDLaaSSpawner.system_group, or, for a demonstration, "
            "set c.LocalDLaaSSpawner.allow_shared_uid = True.",
        )


def members_of(system_group: str) -> int:
    """The gid of the group whose members may have servers. Raises ConfigError where there is no such group."""
    try:
        return grp.getgrnam(system_group).gr_gid
    except KeyError:
        raise ConfigError(
            f"c.LocalDLaaSSpawner.system_group = {system_group!r} names no group of this machine.",
            hint="Name the system group whose members may have servers, for example 'dlaas-users', and create it.",
        ) from None


def default_base(*, shared_uid: bool) -> str:
    """Where servers' folders go: memory-backed where the machine has it."""
    if not shared_uid:
        return "/run/dlaas"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isdir(runtime):
        return os.path.join(runtime, "dlaas")
    return str(Path.home() / ".local/share/jupyterhub-dlaas/run")


def prepare_base(path: str, *, shared_uid: bool) -> str:
    """Makes the base folder; returns its real path, because eosxd follows no link.

    Raises ConfigError for one that somebody else could change.
    """
    mode = 0o700 if shared_uid else 0o755
    wanted, path = os.path.abspath(path), os.path.realpath(path)
    try:
        Places(path, path)
    except ValueError as error:
        raise ConfigError(f"c.LocalDLaaSSpawner.places_dir: {error}.", hint="Choose another folder.") from None
    if not shared_uid:
        for way in (wanted, path):
            _refuse_others(way)  # before anything is made there
    os.makedirs(path, mode=mode, exist_ok=True)
    if not shared_uid:
        _refuse_others(path)
        os.chmod(path, mode)  # whatever the umask: users must be able to walk through
    status = os.stat(path)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _changed_by_others(path, path)
    return path


def _refuse_others(path: str) -> None:
    """As root: whoever owns a folder on the way, or may write in it, could put another in the place of the next one."""
    for folder in (*reversed(Path(path).parents), Path(path)):
        try:
            status = os.lstat(folder)
        except FileNotFoundError:
            return
        # In a folder like /tmp others can only replace what is theirs, which the next turn looks at.
        closed = stat.S_ISLNK(status.st_mode) or not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        shared = status.st_mode & stat.S_ISVTX and folder != Path(path)
        if status.st_uid not in (0, os.geteuid()) or not (closed or shared):
            raise _changed_by_others(path, str(folder))


def _changed_by_others(path: str, folder: str) -> ConfigError:
    return ConfigError(
        f"c.LocalDLaaSSpawner.places_dir = {path!r} can be changed by others"
        + (f", who can write in or own {folder!r}." if folder != path else "."),
        hint="It and all folders above it have to belong to the user that runs the hub, and only they may write there.",
    )


def create(base: str, account: Account | None) -> Places:
    """Two new private folders, `account`'s or the hub's own, under an unguessable name."""
    files = os.path.join(base, secrets.token_hex(16))
    places = Places(files, files + _CACHE_SUFFIX)
    for path in (places.files_dir, places.cache_dir):
        os.mkdir(path, 0o700)
        if account is not None:
            os.chown(path, account.uid, account.gid)
    return places


def remove(places: Places, account_name: str | None, *, seconds: float = 5.0) -> list[str]:
    """Removes both folders; returns what could not be removed. With an account, that user's own process does it.

    It may take `seconds` for each folder: how much there is to remove is up to the user.
    """
    left = []
    for path in (places.files_dir, places.cache_dir):
        try:
            if account_name is None:
                shutil.rmtree(path)
            else:
                _empty_as(path, account_name, seconds)
                os.rmdir(path)
        except FileNotFoundError:
            continue
        except (OSError, KeyError, subprocess.SubprocessError):
            left.append(path)
    return left


def _empty_as(path: str, account_name: str, seconds: float) -> None:
    entry = pwd.getpwnam(account_name)
    # The user can look into a process of theirs: it gets nothing of the hub's environment and not its terminal.
    subprocess.run(
        ["find", path, "-xdev", "-mindepth", "1", "-delete"],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath},
        start_new_session=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def why_eos_refuses(path: str, *, uid: int, gid: int) -> str:
    """Why eosxd would not take a token below `path` from this user, or "".

    It opens every folder of the path with the caller's uid and gid alone (no supplementary groups) and follows no link,
    so each needs read and search permission for exactly those.
    """
    folder = Path("/")
    for part in Path(path).parts:
        folder = folder / part
        status = os.lstat(folder)
        if stat.S_ISLNK(status.st_mode):
            return f"{folder} is a link"
        shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
        if uid != 0 and (status.st_mode >> shift) & 0o5 != 0o5:
            return f"{folder} cannot be listed by uid {uid}"
    return ""

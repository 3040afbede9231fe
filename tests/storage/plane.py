"""The whole lab: made in a folder, started in order, stopped without a trace."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from support.ports import free_port

from storage import catalogue, configs, pki, tokens
from storage.acl import let_in
from storage.daemons import Daemon, LabError, says
from storage.layout import (
    CACHE,
    ORIGINS,
    PORTS,
    RSES,
    SERVERS,
    TOKEN_CACHE,
    TOKEN_ORIGIN,
    Layout,
)
from storage.mount import is_mounted, mount_daemon, unmount

PROGRAMS = ("xrootd", "xrdcp", "xrdfs", "xrootdfs", "xrdpfc_print", "openssl")
SERVER_ACCOUNT = "xrootd"  # comes with Debian's package
PASSED_ON = ("PATH", "LANG", "LC_ALL", "HOME", "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")

Say = Callable[[str], None]


def _quiet(line: str) -> None:
    pass


class Lab:
    """A lab in an empty or new folder. `with Lab(folder) as lab:` has it running; `lab.daemons` has each part by name.

    Every start is a fresh one. LabError if something is missing or does not start; nothing is left running then.
    """

    def __init__(self, folder: Path, say: Say = _quiet) -> None:
        user = SERVER_ACCOUNT if os.geteuid() == 0 else None
        self.layout = Layout(folder.resolve(), _ports(), user)
        self.say = say
        self.lake = catalogue.lake_of(self.layout)
        self.mint: tokens.Mint
        self.daemons: dict[str, Daemon] = {}

    def __enter__(self) -> Lab:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when everything is up."""
        began = time.monotonic()
        _need_programs()
        self._make()
        try:
            for daemon in self._parts():
                self.daemons[daemon.name] = daemon
                before = time.monotonic()
                daemon.start()
                self.say(f"{daemon.name}: ready after {time.monotonic() - before:.1f} s")
        except BaseException:
            self.stop()
            raise
        self.layout.description.write_text(self.layout.to_json())
        self.say(f"everything is up after {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """No process and no mount is left; the folder stays."""
        for daemon in reversed(self.daemons.values()):
            if daemon.name == "mount":
                unmount(self.layout.mount)
            daemon.stop()
        if is_mounted(self.layout.mount):
            unmount(self.layout.mount)
        self.layout.description.unlink(missing_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What programs of the lab get to see of ours, and the authority that its certificates come from."""
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        here = {"TMPDIR": str(self.layout.folder / "tmp"), "X509_CERT_DIR": str(self.layout.certificates)}
        return kept | here | {"PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1,localhost"}

    def give(self, path: Path) -> None:
        """Makes a file or folder the servers' own."""
        if self.layout.user:
            account = pwd.getpwnam(self.layout.user)
            tokens.own(path, account.pw_uid, account.pw_gid)

    def _make(self) -> None:
        layout = self.layout
        layout.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        if any(layout.folder.iterdir()):
            raise LabError(f"{layout.folder} is not empty: stop the lab that is there, or choose another folder.")
        if layout.user:
            layout.folder.chmod(0o755)  # the servers' account has to get through
        (layout.folder / "layout.json").write_text(layout.to_json())
        (layout.folder / "lab.pid").write_text(str(os.getpid()))
        for folder in ("logs", "etc", "data", "run", "tmp", "secrets"):
            (layout.folder / folder).mkdir()
        for folder in ("rucio", "root", "people"):
            (layout.folder / folder).mkdir(mode=0o700)  # with tokens and passwords, and not for the servers' account
        layout.mount.mkdir(parents=True)
        pki.make(layout.pki)
        self.mint = tokens.Mint.of(layout.issuer, layout.folder / "iam")
        for name, text in configs.render(layout).items():
            layout.config(name).write_text(text)
        for server in SERVERS:
            layout.run(server).mkdir()
            layout.data(server).mkdir()
        for rse in RSES:
            (layout.data(rse.server) / rse.folder).mkdir()
        tokens.teach(layout.run("xdg"), layout.issuer, self.mint.keys)
        pki.write_private(self._cache_token, self.mint.storage("alice", 30 * tokens.DAY, "storage.read:/").encode())
        catalogue.write(layout, self.lake)
        self._hand_over()
        if layout.user:
            let_in(layout.scratch, pwd.getpwnam(layout.user).pw_uid)

    @property
    def _cache_token(self) -> Path:
        # What a cache is let in with at the origins; whoever may read from the cache reads with it.
        return self.layout.folder / "secrets" / "cache.token"

    def _hand_over(self) -> None:
        self.give(self.layout.run("xdg"))
        self.give(self.layout.pki / "server.key")
        self.give(self._cache_token)
        for server in SERVERS:
            self.give(self.layout.run(server))
            self.give(self.layout.data(server))

    def _parts(self) -> Iterator[Daemon]:
        for name in (*ORIGINS, TOKEN_ORIGIN, CACHE, TOKEN_CACHE):
            yield self._server(name)
        yield mount_daemon(self.layout, self.environment)
        yield from catalogue.daemons(self.layout, self.lake, self.environment)

    def _server(self, name: str) -> Daemon:
        layout = self.layout
        environment = self.environment | {"XDG_CACHE_HOME": str(layout.run("xdg"))}
        if name in (CACHE, TOKEN_CACHE):
            environment |= {**configs.IMPATIENT, "BEARER_TOKEN_FILE": str(self._cache_token)}
        return Daemon(
            name=name,
            command=["xrootd", "-n", name, "-c", str(layout.config(name)), "-I", "v4", "-w", str(layout.run(name))],
            environment=environment,
            folder=layout.folder,
            log=layout.logs / f"{name}.log",
            ready=says("initialization completed"),
            port=layout.ports[name],
            user=layout.user,
            limit_seconds=20,
        )


def temporary_folder() -> Path:
    """A new folder that the servers' account can get through; a short path, as sockets do not like deep ones."""
    folder = Path(tempfile.mkdtemp(prefix="dlaas-storage-"))
    folder.chmod(0o755)
    return folder


def remove(folder: Path) -> None:
    """Removes a lab's folder, but never through a mount into a storage."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if Path(line.split(" ")[1].replace("\\040", " ")).is_relative_to(folder):
            raise LabError(f"{folder} is not removed: something is mounted in it.")
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _ports() -> dict[str, int]:
    ports: dict[str, int] = {}
    for name in PORTS:
        while (port := free_port()) in ports.values():
            continue
        ports[name] = port
    return ports


def _need_programs() -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise LabError(f"{', '.join(missing)} cannot be found; `make debian-storage` installs or names the packages.")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise LabError("/dev/fuse cannot be opened: nothing can be mounted. In a container add --device /dev/fuse.")

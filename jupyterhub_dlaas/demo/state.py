"""What a demo remembers in its folder: ports and secrets, so that a second start finds data and sessions again."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_dlaas.errors import DLaaSError

PORTS = ("hub", "hub_internal", "proxy_api", "iam", "rucio")
FIRST_HUB_PORT = 8000


class DemoError(DLaaSError):
    """The demo cannot start or go on."""


@dataclass(frozen=True)
class State:
    """The folder and what is remembered in it. `ports` has an entry for each of `PORTS`."""

    folder: Path
    ports: dict[str, int]
    secrets: dict[str, str]
    new: bool

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    @property
    def homes(self) -> Path:
        return self.folder / "home"

    @property
    def mount(self) -> Path:
        """What users see of EULAKE-1."""
        return self.folder / "eos" / "eulake_1"

    @property
    def remote(self) -> Path:
        return self.folder / "far-away" / "desy"

    @property
    def scratch(self) -> Path:
        """What users see of LAKE-SCRATCHDISK: a folder for each of them."""
        return self.folder / "scratch"

    def url(self, part: str) -> str:
        return f"http://127.0.0.1:{self.ports[part]}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one demo at a time works in a folder. DemoError if there is one already."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # secrets, databases and every user's files
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(
                f"Another demo runs with its data in {folder}.", hint="Stop it, or give another folder with --state."
            ) from None
        yield


def remember(folder: Path, hub_port: int | None = None) -> State:
    """Reads or makes the folder's settings; a port that something else took meanwhile is replaced by a free one.

    `hub_port` is the user's wish: DemoError if it is taken.
    """
    path = folder / "demo.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    wishes = dict(known.get("ports", {"hub": FIRST_HUB_PORT}))
    if hub_port:
        wishes["hub"] = hub_port
    ports = choose_ports(wishes)
    if hub_port and ports["hub"] != hub_port:
        raise DemoError(f"Port {hub_port} is used by another program.", hint="Give another one with --port, or none.")
    made = {"crypt_key": secrets.token_hex(32), "proxy": secrets.token_hex(32), "rucio_root": secrets.token_urlsafe(16)}
    state = State(folder, ports, known.get("secrets", made), new=not known)
    for place in (state.logs, state.hub, state.homes):
        place.mkdir(exist_ok=True)
    _write_private(path, json.dumps({"ports": ports, "secrets": state.secrets}, indent=1))
    return state


def choose_ports(wishes: dict[str, int]) -> dict[str, int]:
    """A port of 127.0.0.1 for each of `PORTS`: as wished where that is free, else any free one."""
    with ExitStack() as held:  # all held until all are chosen, so that none is chosen twice
        return {name: _bind(held, wishes.get(name, 0)) for name in PORTS}


def _bind(held: ExitStack, wish: int) -> int:
    for port in (wish, 0):
        listener = held.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        listener.listen()
        return int(listener.getsockname()[1])
    raise DemoError("This machine has no free port on 127.0.0.1.")


def _write_private(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)

"""Whether mounted storages answer, asked so that a dead one harms nobody."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable

from jupyterhub_dlaas.agent.bundle import Mount
from jupyterhub_dlaas.agent.child import Children
from jupyterhub_dlaas.agent.trouble import reason

PROBE_SECONDS = 5.0


def probe(mounts: Iterable[Mount], children: Children, seconds: float = PROBE_SECONDS) -> dict[str, str]:
    """By name of each mount: what is wrong with it, in a sentence, or an empty text. All are asked at once."""
    asked = {f"mount {mount.name}": mount for mount in mounts}
    answers = children.run({key: _look(mount.path) for key, mount in asked.items()}, seconds)
    hangs = f"It does not answer within {seconds:g} seconds."
    return {
        mount.name: hangs if answer is None else answer.decode()
        for mount, answer in ((mount, answers[key]) for key, mount in asked.items())
    }


def _look(path: str) -> Callable[[], bytes]:
    def look() -> bytes:
        try:
            os.stat(path)
            with os.scandir(path) as entries:
                next(entries, None)
        except OSError as error:
            # The agent has no rights of its own there: a storage that says so is alive.
            if error.errno in (errno.EACCES, errno.EPERM):
                return b""
            return f"{reason(error)}.".encode()
        return b""

    return look

"""Which folders of the data lake a server should see, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.offer import Choice


@dataclass(frozen=True)
class Mount:
    """A folder the agent probes; the server does not start without a `required` one."""

    name: str
    path: str
    required: bool = False


@dataclass(frozen=True)
class MountState:
    """What the last probe found; `problem` is a sentence, `since` epoch seconds of the change to this state."""

    name: str
    path: str
    alive: bool
    problem: str = ""
    since: float | None = None


def mounts(choice: Choice, user: str) -> tuple[Mount, ...]:
    """The folders of the environment's storages as `user` sees them, in the catalogue's order."""
    return tuple(Mount(name, storage.path, storage.required) for name, storage in choice.offer.storages)

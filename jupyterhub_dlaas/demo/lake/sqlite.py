"""What Rucio's server and daemons need to know of SQLite."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Engine, event

_AT_ONCE = 900  # SQLite: "Expression tree is too large (maximum depth 1000)"


def leave_writing_to_the_system() -> None:
    """No connection that this process opens from now on waits for the disk.

    A transfer takes a handful of commits, each of which would wait for 5 to 10 ms. A process that is killed loses
    nothing; only if the machine itself goes down may a demo have to begin anew.
    """
    event.listen(Engine, "connect", _on_connect)


def _on_connect(connection: Any, record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # the default makes and removes a file for each commit
    connection.execute("PRAGMA synchronous = OFF")


def look_up_less_at_once() -> None:
    """Lets Rucio look up 900 files in a statement where it takes 1000, which is too much for SQLite.

    To be called when Rucio's modules are loaded: they have the function by name.
    """
    from rucio.common import utils

    original = utils.chunks

    def chunks(items: Sequence[Any], size: int) -> Iterator[Any]:
        return iter(original(items, min(size, _AT_ONCE)))

    for name, module in list(sys.modules.items()):
        if name.startswith("rucio.") and getattr(module, "chunks", None) is original:
            module.chunks = chunks  # type: ignore[attr-defined]

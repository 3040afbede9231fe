"""How `ls` and `find` print what they found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jupyterhub_dlaas.datalake import console
from jupyterhub_dlaas.datalake.listing import Entry


def listed(entries: Iterable[Entry], as_json: bool, *, empty: str) -> int:
    """Prints the entries as they come, and says so when there are none; returns how many there were."""
    count = 0

    def counted() -> Iterator[Entry]:
        nonlocal count
        for entry in entries:
            count += 1
            yield entry

    if as_json:
        for entry in counted():
            console.json_line(entry.as_json())
    else:
        console.table(
            ("DID", "TYPE", "SIZE", "FILES"),
            (
                (entry.did, entry.kind, console.size(entry.bytes), "" if entry.files is None else entry.files)
                for entry in counted()
            ),
        )
    if not count:
        console.note(empty)
    return count

"""What lies in a basket, and what a connector is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyterhub_dlaas.datalake.dids import DID

_BELOW = ("record", "data")  # where portals put an archive's own answer


@dataclass(frozen=True)
class Item:
    """One thing in a basket. `archive` says where it was found; what `data` holds is that archive's business.

    `problem`: why the item could not be read, or "".
    """

    archive: str
    data: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def places(self) -> Iterator[Mapping[str, Any]]:
        """The objects in which a connector looks for its fields: the data, and what is under `record` and `data`."""
        yield self.data
        for key in _BELOW:
            below = self.data.get(key)
            if isinstance(below, Mapping):
                yield below

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its fields, for a person who wonders what it is."""
        return tuple(sorted(map(str, self.data)))


class Connector(Protocol):
    """Knows the items of one archive, or of one kind. An entry point names an object, or a class to be called."""

    name: str

    def takes(self, item: Item) -> bool:
        """Whether the item is one that it understands; must not raise, and not ask any server."""
        ...

    def title(self, item: Item) -> str:
        """The item in a few words, for the list."""
        ...

    def dids(self, item: Item, client: Any) -> list[DID]:
        """The data of the lake that it stands for, by the Rucio client; none where they are not in this Rucio.

        A Failure says in a sentence what is wrong with the item; an outage is raised as it comes.
        """
        ...


@dataclass(frozen=True)
class Reference:
    """An item with the connector that takes it; None: no connector does."""

    item: Item
    connector: Connector | None

    @property
    def title(self) -> str:
        """What it is; of an item that no connector takes the names of its fields."""
        if self.item.problem:
            return self.item.problem
        if self.connector is None:
            return f"not understood, its fields: {', '.join(self.item.keys) or 'none'}"
        return self.connector.title(self.item)


def item_of(entry: Any) -> Item:
    """From one entry of `shopping_cart`, whose `item_data` is an object written as a JSON string."""
    if not isinstance(entry, Mapping):
        return Item("", problem=f"not an object but {type(entry).__name__}")
    data = entry.get("item_data", entry)
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            return Item(str(entry.get("archive") or ""), problem="its item_data is not JSON")
    if not isinstance(data, Mapping):
        return Item(str(entry.get("archive") or ""), problem="its item_data is not an object")
    return Item(str(data.get("archive") or entry.get("archive") or ""), data)

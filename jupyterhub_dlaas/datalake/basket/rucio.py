"""Items of a Rucio archive: a DID, written as `scope` and `name` or as one string."""

from __future__ import annotations

from typing import Any

from jupyterhub_dlaas.datalake.basket.items import Item
from jupyterhub_dlaas.datalake.dids import DID


class RucioConnector:
    """Takes what has `scope` and `name`, or `did` as "scope:name", whatever the archive calls itself."""

    name = "rucio"

    def takes(self, item: Item) -> bool:
        return did_of(item) is not None

    def title(self, item: Item) -> str:
        return str(did_of(item))

    def dids(self, item: Item, client: Any) -> list[DID]:
        did = did_of(item)
        return [did] if did else []


def did_of(item: Item) -> DID | None:
    """The DID of an item, or None."""
    for place in item.places():
        scope, name, did = place.get("scope"), place.get("name"), place.get("did")
        if isinstance(did, str):
            before, colon, after = did.partition(":")
            if colon and before and after and "//" not in after:
                return DID(before, after)
        if isinstance(scope, str) and isinstance(name, str) and scope and name:
            return DID(scope, name)
    return None

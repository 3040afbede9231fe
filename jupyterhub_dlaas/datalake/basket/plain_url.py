"""Items with a URL: data of the lake where it is the physical name of a replica, else something to be fetched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from jupyterhub_dlaas.datalake.basket.items import Item
from jupyterhub_dlaas.datalake.dids import DID

_FIELDS = ("url", "access_url", "accessURL", "download_url", "pfn", "uri", "href")
_URL = re.compile(r"(?:https?|roots?|xroots?|davs?|gsiftp|srm|ftp|s3s?|file)://[^\s]+", re.IGNORECASE)


class PlainURLConnector:
    """Takes what has a URL in one of the usual fields."""

    name = "url"

    def takes(self, item: Item) -> bool:
        return url_of(item) is not None

    def title(self, item: Item) -> str:
        return url_of(item) or ""

    def dids(self, item: Item, client: Any) -> list[DID]:
        """The file whose replica is at the URL, where the storage names its files in one of Rucio's usual ways.

        Rucio's own look-up by physical name (`/replicas/dids`) serves SRM alone in release 41. So the name is read
        from the path, and Rucio is asked whether it has a replica there.
        """
        from rucio.common.exception import DataIdentifierNotFound, InvalidObject

        url = url_of(item) or ""
        for did in candidates(url):
            try:
                replicas = list(client.list_replicas([did.as_dict()]))
            except (DataIdentifierNotFound, InvalidObject):
                continue
            if any(_place(pfn) == _place(url) for replica in replicas for pfn in replica["pfns"]):
                return [did]
        return []


def url_of(item: Item) -> str | None:
    """The first URL of an item, or None."""
    for place in item.places():
        for field in _FIELDS:
            value = place.get(field)
            if isinstance(value, str) and _URL.fullmatch(value.strip()):
                return value.strip()
    return None


def candidates(url: str) -> Iterator[DID]:
    """The files that may be at this URL: of storages that name files by hash, and by scope and name."""
    parts = [part for part in unquote(urlsplit(url).path).split("/") if part]
    if len(parts) >= 4:
        first, second, name = parts[-3:]
        # user/alice/82/c8/name: the folders of a scope, and the first two bytes of the md5 of "scope:name".
        for start in range(len(parts) - 4, -1, -1):
            did = DID(".".join(parts[start:-3]), name)
            if hashlib.md5(str(did).encode(), usedforsecurity=False).hexdigest().startswith(first + second):
                yield did
    if len(parts) >= 2:
        yield DID(parts[-2], parts[-1])


def _place(url: str) -> tuple[str | None, str]:
    """Host and path: the same replica has a URL per protocol, each with a port of its own."""
    split = urlsplit(url)
    return split.hostname, re.sub("/+", "/", unquote(split.path))

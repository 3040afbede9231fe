"""Items with a URL: data of the lake where it is the physical name of a replica, else something to be fetched."""

from __future__ import annotations

import re
from typing import Any

from jupyterhub_dlaas.datalake.basket.items import Item
from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, failure_of

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
        """The file whose replica is at the URL; none where no storage of this Rucio is."""
        from rucio.common.exception import RucioException

        try:
            answers = list(client.get_did_from_pfns([url_of(item)]))
        except RucioException as error:
            failure = failure_of(error)
            # Of a URL on none of its storages Rucio says no more than 500; an outage is another number.
            if failure and failure.code is Code.UNREACHABLE and "status code: 500" not in failure.sentence:
                raise
            return []
        return [DID(found["scope"], found["name"]) for answer in answers for found in answer.values()]


def url_of(item: Item) -> str | None:
    """The first URL of an item, or None."""
    for place in item.places():
        for field in _FIELDS:
            value = place.get(field)
            if isinstance(value, str) and _URL.fullmatch(value.strip()):
                return value.strip()
    return None

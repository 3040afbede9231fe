"""Classes of storage: the attribute `QOS` of each storage (RSE), by which a rule names a class instead of a site."""

from __future__ import annotations

import re
from typing import Any

from jupyterhub_dlaas.datalake.failure import Code, Failure

ATTRIBUTE = "QOS"
# What Rucio's parser takes as a value: a dot, or anything else, would end the term there without an error.
_VALUE = re.compile(r"[A-Za-z0-9_-]+")
_ASKED = 200  # storages whose attributes are read for a message; each is a request


def qos_expression(qos: str) -> str:
    """The RSE expression of a class, `QOS=SAFE`; a Failure (USAGE) for what cannot be a class's name."""
    if not _VALUE.fullmatch(qos):
        raise Failure(
            f"{qos!r} cannot be a class of storage.",
            "A class is a word of letters, digits, - and _, as in: --qos SAFE",
            Code.USAGE,
        )
    return f"{ATTRIBUTE}={qos}"


def classes(client: Any) -> dict[str, list[str]]:
    """The classes that this Rucio has, each with its storages, both sorted."""
    found: dict[str, list[str]] = {}
    for rse in sorted(entry["rse"] for entry in client.list_rses())[:_ASKED]:
        qos = client.list_rse_attributes(rse).get(ATTRIBUTE)
        if qos:
            found.setdefault(str(qos), []).append(rse)
    return dict(sorted(found.items()))

"""From references to data of the lake."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jupyterhub_dlaas.datalake.basket.items import Reference
from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of
from jupyterhub_dlaas.datalake.rules import known


@dataclass(frozen=True)
class Resolved:
    """What a reference stands for: DIDs that Rucio knows, or the `problem` in words where there are none."""

    reference: Reference
    dids: tuple[DID, ...]
    problem: str = ""


def resolve(references: Iterable[Reference], client: Any) -> list[Resolved]:
    """Each reference with its DIDs, in the same order; those that stand for no data of this Rucio say why."""
    resolved = [_of_one(reference, client) for reference in references]
    there = known(client, list(dict.fromkeys(did for one in resolved for did in one.dids)))
    return [_checked(one, there) for one in resolved]


def _of_one(reference: Reference, client: Any) -> Resolved:
    from rucio.common.exception import RucioException

    if reference.connector is None:
        return Resolved(reference, (), reference.title)
    try:
        dids = tuple(reference.connector.dids(reference.item, client))
    except (Failure, RucioException) as error:
        failure = failure_of(error)
        if failure is None or failure.code in (Code.UNREACHABLE, Code.REFUSED):
            raise
        return Resolved(reference, (), str(failure))
    return Resolved(reference, dids, "" if dids else f"{reference.title} is not in this Rucio")


def _checked(one: Resolved, there: set[DID]) -> Resolved:
    missing = [did for did in one.dids if did not in there]
    if not missing:
        return one
    return Resolved(
        one.reference,
        tuple(did for did in one.dids if did in there),
        f"Rucio does not know {', '.join(map(str, missing))}",
    )

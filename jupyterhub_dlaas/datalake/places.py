"""Where data lies: its copies on the storages (RSEs), and the physical file names (PFNs) to read them by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID, batches, unknown
from jupyterhub_dlaas.datalake.listing import Entry
from jupyterhub_dlaas.datalake.rule import Rule, rule_of
from jupyterhub_dlaas.datalake.rules import check_known

_AT_ONCE = 500


@dataclass(frozen=True)
class Place:
    """One storage (RSE) with how many of a DID's files, and bytes, can be read from it; its quality of service."""

    rse: str
    qos: str
    files: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Description:
    """All about one DID. `entry` has its size; `metadata` is what Rucio has that is not empty."""

    entry: Entry
    account: str
    is_open: bool | None
    metadata: dict[str, Any]
    places: tuple[Place, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Sources:
    """A file with the PFNs to read it by, the best first; none where no storage has it."""

    did: DID
    pfns: tuple[str, ...]
    rses: tuple[str, ...]


def describe(client: Any, did: DID) -> Description:
    """Asks Rucio about one DID. A Failure (NOT_FOUND) if it is unknown."""
    from rucio.common.exception import DataIdentifierNotFound

    try:
        itself = client.get_did(did.scope, did.name, dynamic_depth="FILE")
        metadata = client.get_metadata(did.scope, did.name)
    except DataIdentifierNotFound as error:
        raise unknown(did) from error
    kind = str(itself["type"]).rpartition(".")[2].lower()
    files = 1 if kind == "file" else itself.get("length")
    if kind == "file":
        rules = client.list_associated_rules_for_file(did.scope, did.name)
    else:
        rules = client.list_did_rules(did.scope, did.name)
    return Description(
        entry=Entry(did, kind, itself.get("bytes"), files),
        account=str(itself.get("account") or ""),
        is_open=itself.get("open"),
        metadata={
            key: value for key, value in metadata.items() if value not in (None, "", False) and key not in _SHOWN
        },
        places=tuple(places(client, did, kind)),
        rules=tuple(rule_of(entry) for entry in rules),
    )


_SHOWN = frozenset({"scope", "name", "did_type", "bytes", "length", "account", "is_open", "hidden", "suppressed"})


def places(client: Any, did: DID, kind: str) -> list[Place]:
    """The storages that have copies of the DID's files, by name; collections are counted by the server."""
    qos = cache(lambda rse: str(client.list_rse_attributes(rse).get("QOS") or ""))
    found: dict[str, list[int]] = {}
    for rse, files, bytes_ in _counts(client, did, kind):
        counts = found.setdefault(rse, [0, 0])
        counts[0] += files
        counts[1] += bytes_
    return [Place(rse, qos(rse), files, bytes_) for rse, (files, bytes_) in sorted(found.items()) if files]


def _counts(client: Any, did: DID, kind: str) -> Iterator[tuple[str, int, int]]:
    if kind == "file":
        for entry in client.list_replicas([did.as_dict()], all_states=True):
            yield from ((rse, 1, entry["bytes"] or 0) for rse, state in entry["states"].items() if state == "AVAILABLE")
    elif kind == "dataset":
        # Deep: the other count is brought up to date by a daemon that a site may not run.
        for entry in client.list_dataset_replicas(did.scope, did.name, deep=True):
            yield entry["rse"], entry["available_length"] or 0, entry["available_bytes"] or 0
    else:
        for member in client.list_content(did.scope, did.name):
            below = str(member["type"]).rpartition(".")[2].lower()
            yield from _counts(client, DID(member["scope"], member["name"]), below)


def sources(
    client: Any,
    dids: Iterable[DID],
    *,
    schemes: Sequence[str] = (),
    site: str | None = None,
    rse: str | None = None,
    every: bool = False,
) -> Iterator[Sources]:
    """The files of the DIDs with the PFNs that Rucio gives to a reader at `site`, streamed.

    Rucio leads a reader at a site with a cache through it, and one at the storage's own site straight to it. `schemes`,
    as in `root`, and `rse`, an expression, restrict the answer. With `every` there is a PFN for each protocol of each
    storage, not just for the one that it prefers. A Failure (NOT_FOUND) for an unknown DID.
    """
    from rucio.common.constants import SUPPORTED_PROTOCOLS

    asked = list(schemes) or (list(SUPPORTED_PROTOCOLS) if every else None)
    # Restricted by Rucio, the answer would leave out the files that are elsewhere.
    wanted = None if rse is None else {entry["rse"] for entry in client.list_rses(rse)}
    for batch in batches(dids, _AT_ONCE):
        check_known(client, batch)  # the next question passes over unknown ones in silence
        entries = client.list_replicas(
            [did.as_dict() for did in batch],
            schemes=asked,
            client_location={"site": site} if site else None,
            ignore_availability=False,
        )
        for entry in entries:
            pfns = [item for item in entry.get("pfns", {}).items() if wanted is None or item[1]["rse"] in wanted]
            ranked = sorted(pfns, key=lambda item: item[1].get("priority") or 0)
            yield Sources(
                DID(entry["scope"], entry["name"]),
                tuple(pfn for pfn, _ in ranked),
                tuple(about["rse"] for _, about in ranked),
            )

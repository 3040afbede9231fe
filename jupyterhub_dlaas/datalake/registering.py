"""Files into Rucio's catalogue, hundreds in a request, each request whole or not at all, and none of them twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of

# Rucio's schema takes 1000 in a request; a server with SQLite looks up 997 ("Expression tree is too large").
BATCH = 900
_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # seconds between the attempts while Rucio cannot be reached


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to be registered: `datasets` are all those that it goes into, the first of them its own."""

    mark: bytes
    path: str
    did: DID
    bytes: int
    adler32: str
    pfn: str
    datasets: tuple[DID, ...]

    def as_dict(self) -> dict[str, Any]:
        """As Rucio takes a replica, and a file of a dataset: with these it compares a file that it knows already."""
        entry = {**self.did.as_dict(), "bytes": self.bytes, "adler32": self.adler32}
        return {**entry, "pfn": self.pfn} if self.pfn else entry


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that Rucio knows as something else, or does not take, and why."""

    path: str
    why: str


class Registrar:
    """Registers replicas on the storage `rse` and puts them into their datasets, which have to be there.

    One request does both for a whole batch, in one transaction at the server. A file that Rucio has with another size
    or checksum is refused, and the rest of its batch registered. What is there already is left as it is, so a request
    whose answer got lost is simply sent again.
    """

    def __init__(
        self,
        client: Any,
        rse: str,
        *,
        pauses: Sequence[float] = _PAUSES,
        sleep: Callable[[float], None] = time.sleep,
        on_trouble: Callable[[Failure], None] = lambda failure: None,
    ) -> None:
        self._client, self._rse = client, rse
        self._pauses, self._sleep, self._on_trouble = pauses, sleep, on_trouble
        self._permitted = False

    def add(self, entries: Sequence[Entry]) -> list[Refused]:
        """Registers at most `BATCH` files; returns those that were refused. Raises a Failure for all of them."""
        wanted, refused = list(entries), list[Refused]()
        if not self._permitted and wanted:
            # The request below does not ask for the right to write to the storage; this one does, once.
            refused = self._differing(wanted)
            wanted = _without(wanted, refused)
            if wanted:
                first = [entry.as_dict() for entry in wanted[:1]]
                self.call(lambda: self._client.add_replicas(self._rse, first))
                self._permitted = True
        while wanted:
            failure = self._attach(wanted)
            if failure is None:
                return refused
            more = self._differing(wanted)
            if not more:
                raise failure
            refused += more
            wanted = _without(wanted, more)
        return refused

    def _attach(self, entries: Sequence[Entry]) -> Failure | None:
        """None when all are in; the failure, when a file among them may be the reason."""
        from rucio.common.exception import RucioException

        own: dict[DID, list[dict[str, Any]]] = {}
        others: dict[DID, list[dict[str, Any]]] = {}
        for entry in entries:
            own.setdefault(entry.datasets[0], []).append(entry.as_dict())
            for dataset in entry.datasets[1:]:
                others.setdefault(dataset, []).append(entry.did.as_dict())
        # With `rse` Rucio registers the replicas first, in the same transaction.
        attachments = [{**did.as_dict(), "rse": self._rse, "dids": dids} for did, dids in own.items()]
        attachments += [{**did.as_dict(), "dids": dids} for did, dids in others.items()]
        try:
            self.call(lambda: self._client.attach_dids_to_dids(attachments, ignore_duplicate=True))
        except RucioException as error:
            failure = failure_of(error)
            if failure is None or failure.code in {Code.REFUSED, Code.UNREACHABLE}:
                raise
            return failure
        return None

    def _differing(self, entries: Sequence[Entry]) -> list[Refused]:
        known = {
            (entry["scope"], entry["name"]): entry
            for entry in self.call(
                lambda: list(self._client.get_metadata_bulk([entry.did.as_dict() for entry in entries]))
            )
        }
        refused = []
        for entry in entries:
            there = known.get((entry.did.scope, entry.did.name))
            why = difference(entry, there) if there else ""
            if why:
                refused.append(Refused(entry.path, why))
        return refused

    def call(self, request: Callable[[], Any]) -> Any:
        """The request's result; sent again while Rucio cannot be reached, for about a minute."""
        from rucio.common.exception import RucioException

        pauses = iter(self._pauses)
        while True:
            try:
                return request()
            except (RucioException, OSError) as error:  # requests' exceptions are OSErrors
                failure = failure_of(error)
                pause = next(pauses, None) if failure and failure.code is Code.UNREACHABLE else None
                if failure is None or pause is None:
                    raise
                self._on_trouble(failure)
                self._sleep(pause)


def difference(entry: Entry, there: Mapping[str, Any]) -> str:
    """How what Rucio knows under the file's name differs from it, in words; "" when it does not."""
    kind = str(there.get("did_type") or "FILE").rpartition(".")[2]
    if kind != "FILE":
        return f"{entry.did} is a {kind.lower()} in Rucio already"
    if str(there.get("availability") or "").endswith("LOST"):
        return f"{entry.did} is lost, says Rucio: its name cannot be used again"
    if there.get("bytes") != entry.bytes:
        return f"Rucio has {entry.did} already, with {there.get('bytes')} bytes instead of {entry.bytes}"
    other = there.get("adler32")
    if other and other.lower() != entry.adler32:
        return f"Rucio has {entry.did} already, with adler32 {other} instead of {entry.adler32}"
    return ""


def _without(entries: Iterable[Entry], refused: Iterable[Refused]) -> list[Entry]:
    paths = {entry.path for entry in refused}
    return [entry for entry in entries if entry.path not in paths]

"""The datasets that files go into: made when the first file needs them, and each with the one that has its rules.

A rule on a dataset is about everything in it. A dataset that was there before may have files that are not on this
storage any more, and a rule for this storage would bring them back. So a run puts what it adds to such a dataset into a
second one as well, a part of its own (`NAME.part-3f2a9c`), and the rules are on that.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID, batches
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.journal import Journal

_AT_ONCE = 500  # datasets in one request


@dataclass(frozen=True)
class Opened:
    """`dataset` is what the person asked for; `holder` has the rules: the same one, or a part of it."""

    dataset: DID
    holder: DID

    @property
    def targets(self) -> tuple[DID, ...]:
        """What a file has to be put into."""
        return (self.dataset,) if self.holder == self.dataset else (self.dataset, self.holder)


class Datasets:
    """The datasets of one run, remembered in its journal."""

    def __init__(self, client: Any, journal: Journal, container: DID | None = None) -> None:
        self._client, self._journal, self._container = client, journal, container
        self._open: dict[DID, Opened] = {}
        self._new: set[DID] = set()
        self._had: dict[DID, set[int]] = {}
        self._elsewhere: dict[DID, set[int]] = {}
        self._container_made = False
        self._filled = {DID(fact["scope"], fact["name"]) for fact in journal.facts_of("filled")}
        ruled = {(fact["scope"], fact["name"]) for fact in journal.facts_of("ruled")}
        self._known: dict[DID, Opened] = {}
        self._finished: set[DID] = set()
        for fact in journal.facts_of("dataset"):
            opened = Opened(DID(fact["scope"], fact["name"]), DID(fact["scope"], fact["holder"]))
            if (opened.holder.scope, opened.holder.name) in ruled:
                self._finished.add(opened.dataset)
            else:
                self._known[opened.dataset] = opened

    @property
    def unruled(self) -> list[Opened]:
        """Those that have files of this run or an earlier one, and no rules yet."""
        return [opened for opened in {**self._known, **self._open}.values() if opened.holder in self._filled]

    def filled(self, wanted: Iterable[DID]) -> None:
        """These datasets have files now: they are to get rules. An empty one gets none."""
        for did in dict.fromkeys(wanted):
            holder = self._open[did].holder
            if holder not in self._filled:
                self._filled.add(holder)
                self._journal.fact("filled", **holder.as_dict())

    @property
    def untouched(self) -> list[DID]:
        """Those that were there before the run, and got nothing by it."""
        return [did for did in self._had if did not in self._open]

    def look(self, wanted: Iterable[DID]) -> None:
        """Asks which of the datasets are there already, and with which files."""
        known = self._known.keys() | self._finished | self._new | self._had.keys()
        for batch in batches((did for did in dict.fromkeys(wanted) if did not in known), _AT_ONCE):
            there = self._there(batch)
            self._new.update(did for did in batch if did not in there)
            for did in there:
                self._had[did] = {
                    hash((entry["name"], entry["bytes"], entry["adler32"]))
                    for entry in self._client.list_files(did.scope, did.name)
                    if entry["scope"] == did.scope
                }

    def take_as_had(self, dataset: DID, marks: set[int]) -> None:
        """Files that are elsewhere already, and need not be in this new dataset: `hash((name, size, adler32))`."""
        if marks:
            self._elsewhere[dataset] = marks

    def had(self, dataset: DID, name: str, size: int, adler32: str) -> bool:
        """Whether the dataset had this very file when it was looked at."""
        mark = hash((name, size, adler32))
        return mark in self._had.get(dataset, ()) or mark in self._elsewhere.get(dataset, ())

    def of(self, wanted: Iterable[DID]) -> dict[DID, Opened]:
        """Each dataset, made at the server where it was not there, and put into the container."""
        missing = [did for did in dict.fromkeys(wanted) if did not in self._open]
        for batch in batches(missing, _AT_ONCE):
            self._make(batch)
        return self._open

    def _make(self, wanted: Sequence[DID]) -> None:
        opened = {}
        for did in wanted:
            known = self._known.get(did)
            if known is None:
                own = did in self._new and did not in self._finished
                known = Opened(did, did if own else DID(did.scope, f"{did.name}.part-{uuid.uuid4().hex[:6]}"))
                # Before it is made: a run that is killed in between finds its own dataset, not somebody else's.
                self._journal.fact("dataset", **did.as_dict(), holder=known.holder.name)
            opened[did] = known
        self._create(list(dict.fromkeys(target for each in opened.values() for target in each.targets)))
        self._into_container(list(opened))
        self._open.update(opened)

    def _there(self, wanted: Sequence[DID]) -> set[DID]:
        found = set()
        for entry in self._client.get_metadata_bulk([did.as_dict() for did in wanted]) if wanted else ():
            did = DID(entry["scope"], entry["name"])
            if not str(entry.get("did_type")).endswith("DATASET"):
                kind = str(entry.get("did_type")).rpartition(".")[2].lower()
                raise Failure(f"{did} is a {kind} in Rucio already.", "Name another --dataset.", Code.USAGE)
            if not entry.get("is_open"):
                raise Failure(
                    f"The dataset {did} is closed: nothing can be added to it.", "Name another --dataset.", Code.USAGE
                )
            found.add(did)
        return found

    def _create(self, datasets: Sequence[DID], kind: str = "DATASET") -> None:
        from rucio.common.exception import DataIdentifierAlreadyExists

        wanted = [{**did.as_dict(), "type": kind} for did in datasets]
        try:
            self._client.add_dids(wanted)
        except DataIdentifierAlreadyExists:
            # Rucio made none of them.
            for did in wanted if len(wanted) > 1 else ():
                try:
                    self._client.add_dids([did])
                except DataIdentifierAlreadyExists:
                    continue

    def _into_container(self, datasets: Sequence[DID]) -> None:
        if self._container is None:
            return
        if not self._container_made:
            self._create([self._container], "CONTAINER")
            self._container_made = True
        contents = {**self._container.as_dict(), "dids": [did.as_dict() for did in datasets]}
        self._client.attach_dids_to_dids([contents], ignore_duplicate=True)

"""Data identifiers (DIDs), and the files that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from jupyterhub_dlaas.datalake.console import printable
from jupyterhub_dlaas.datalake.failure import Code, Failure

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class DID:
    """A file, dataset or container of Rucio, by its name in a scope."""

    scope: str
    name: str

    def __str__(self) -> str:
        return f"{self.scope}:{self.name}"

    def as_dict(self) -> dict[str, str]:
        """As Rucio's clients take it."""
        return {"scope": self.scope, "name": self.name}


@dataclass(frozen=True)
class File:
    """A file as Rucio has it registered: its size in bytes, and the checksums that it knows (hexadecimal)."""

    did: DID
    bytes: int
    adler32: str | None
    md5: str | None


def parse(text: str, client: Any) -> DID:
    """The DID written as `scope:name`; a Failure (USAGE) where the scope is not written.

    Rucio's own command guesses a scope from a name without one, by conventions that differ from site to site; here
    nothing is guessed. `client` serves for the example.
    """
    scope, colon, name = text.partition(":")
    if colon and scope and name and ":" not in name:
        return DID(scope, name)
    account = getattr(client, "account", None)
    example = f"user.{account}:{name or text}" if account and ":" not in text else "SCOPE:NAME"
    raise Failure(f"{text!r} is not a DID, which has a scope and a name.", f"Write it as {example}", Code.USAGE)


_AT_ONCE = 500  # DIDs in one question


def files(client: Any, dids: Iterable[DID]) -> Iterator[File]:
    """The files of the DIDs, each once; datasets and containers are expanded. A Failure (NOT_FOUND) for an unknown one.

    They are streamed; half a million take the memory of half a million numbers.
    """
    seen: set[int] = set()
    for batch in batches(dids, _AT_ONCE):
        for entry in _content(client, batch):
            file = DID(entry["scope"], entry["name"])
            mark = hash(file)
            if mark not in seen:
                seen.add(mark)
                yield File(file, entry["bytes"] or 0, entry.get("adler32"), entry.get("md5"))


def _content(client: Any, batch: list[DID]) -> Iterator[Mapping[str, Any]]:
    from rucio.common.exception import DataIdentifierNotFound

    if len(batch) == 1:
        (did,) = batch
        try:
            yield from client.list_files(did.scope, did.name)
        except DataIdentifierNotFound as error:
            raise unknown(did) from error
        return
    full = set()
    for entry in client.bulk_list_files([did.as_dict() for did in batch]):
        full.add(DID(entry["parent_scope"], entry["parent_name"]))
        yield entry
    for did in batch:
        if did not in full:  # empty, or unknown: this question says neither
            try:
                client.get_did(did.scope, did.name)
            except DataIdentifierNotFound as error:
                raise unknown(did) from error


def unknown(did: DID) -> Failure:
    """The failure for a DID that Rucio does not know."""
    advice = f"Look it up with: datalake find '{printable(did.scope)}:*'"
    return Failure(f"Rucio does not know {printable(str(did))}.", advice, Code.NOT_FOUND)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter (itertools.batched of Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

"""What is in the lake: scopes, collections and their content, and the search in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

from jupyterhub_dlaas.datalake.dids import DID, unknown
from jupyterhub_dlaas.datalake.failure import Code, Failure

Kind = Literal["all", "collection", "dataset", "container", "file"]


@dataclass(frozen=True)
class Entry:
    """A DID as a list shows it. `kind`: file, dataset or container. `bytes` and `files` where Rucio knows them."""

    did: DID
    kind: str
    bytes: int | None
    files: int | None

    def as_json(self) -> dict[str, Any]:
        return {"did": str(self.did), "type": self.kind, "bytes": self.bytes, "files": self.files}


def scopes(client: Any, pattern: str | None = None) -> list[str]:
    """The scopes that match the pattern, sorted; without one the user's own."""
    if pattern is None:
        return sorted(client.list_scopes_for_account(client.account))
    return sorted(scope for scope in client.list_scopes() if fnmatchcase(scope, pattern))


def find(client: Any, pattern: str, *, kind: Kind = "all", where: Sequence[str] = ()) -> Iterator[Entry]:
    """The DIDs that match `scope:name`, streamed; `*` stands for any characters in both parts.

    `where` are conditions on Rucio's metadata that must all hold, as in `bytes>1000000` or `datatype=RAW`, with the
    operators of Rucio's filters: = != < <= > >=. A Failure (USAGE) for a pattern without a scope, or a wrong condition;
    (NOT_FOUND) for a scope that does not exist.
    """
    scope, colon, name = pattern.partition(":")
    if not (colon and scope and name):
        raise Failure(
            f"{pattern!r} is not a pattern, which has a scope and a name.", "Write it as 'SCOPE:NAME*'", Code.USAGE
        )
    filters = _filters(name, where)
    chosen = scopes(client, scope) if "*" in scope or "?" in scope else [scope]
    return _found(client, chosen, filters, kind)


def content(client: Any, did: DID) -> Iterator[Entry]:
    """What is directly in a dataset or container, or the file itself, streamed. A Failure (NOT_FOUND) if unknown."""
    from rucio.common.exception import DataIdentifierNotFound

    try:
        itself = client.get_did(did.scope, did.name)
    except DataIdentifierNotFound as error:
        raise unknown(did) from error
    if _word(itself["type"]) == "file":
        return iter([Entry(did, "file", itself.get("bytes"), None)])
    return _members(client, did)


def _members(client: Any, did: DID) -> Iterator[Entry]:
    for entry in client.list_content(did.scope, did.name):
        yield Entry(DID(entry["scope"], entry["name"]), _word(entry["type"]), entry.get("bytes"), None)


def _found(client: Any, chosen: list[str], filters: list[dict[str, Any]], kind: Kind) -> Iterator[Entry]:
    entry = None
    for scope in chosen:
        # The client changes the filters that it is given.
        own = [dict(group) for group in filters]
        for entry in client.list_dids(scope, own, did_type=kind, long=True):
            word = _word(entry["did_type"])
            files = None if word == "file" else entry.get("length")
            yield Entry(DID(entry["scope"], entry["name"]), word, entry.get("bytes"), files)
    if entry is None and len(chosen) == 1 and chosen[0] not in client.list_scopes():
        # The search itself finds nothing in a scope that does not exist.
        raise Failure(f"Rucio has no scope {chosen[0]!r}.", "List all of them with: datalake ls '*'", Code.NOT_FOUND)


def _filters(name: str, where: Sequence[str]) -> list[dict[str, Any]]:
    from rucio.common.exception import DIDFilterSyntaxError, DuplicateCriteriaInDIDFilter
    from rucio.common.utils import parse_did_filter_from_string_fe

    for condition in where:
        if "," in condition or ";" in condition:
            raise Failure(f"The condition {condition!r} holds two.", "Give --where once for each.", Code.USAGE)
    try:
        groups, _ = parse_did_filter_from_string_fe(",".join(where), omit_name=True)
    except (DIDFilterSyntaxError, DuplicateCriteriaInDIDFilter, ValueError) as error:
        conditions = " and ".join(map(repr, where))
        raise Failure(
            f"Rucio does not understand the condition {conditions}.",
            "Write a key of its metadata, one of = != < <= > >= and a value, as in 'bytes>1000'.",
            Code.USAGE,
        ) from error
    return [{**cast("dict[str, Any]", group), "name": name} for group in groups or [{}]]


def _word(kind: object) -> str:
    """Rucio's `DATASET`, or `DIDType.DATASET` in some answers, as a word."""
    return str(kind).rpartition(".")[2].lower()

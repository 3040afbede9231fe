"""The rules of what was registered: one that keeps it where it lies, one that brings it where it is to be.

The first gives way to the second by Rucio itself: it ends at once, but Rucio's cleaner passes over a rule that has a
successor (`child_rule_id`) which is not OK. If the successor is removed, the rule loses its end. So nobody has to wait,
and there is no moment at which the only copy is not protected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID, batches
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.journal import Journal

_AT_ONCE = 100  # rules in one request
_COMMENT = "datalake upload"


@dataclass(frozen=True)
class Promise:
    """What is to be kept: on `source` without end or until the copies at `destination`, "" for none, are there.

    `lifetime` in seconds is that of the rule for the destination, or for the source where there is no destination.
    """

    source: str
    destination: str = ""
    copies: int = 1
    lifetime: int | None = None
    release: bool = False

    @property
    def source_lifetime(self) -> int | None:
        """None beside a destination: whatever happens until its copies are there, the only one stays."""
        return None if self.destination else self.lifetime


@dataclass(frozen=True)
class Ruled:
    """The rules of one dataset; `destination` None where none was asked for. `released`: the source's may end."""

    did: DID
    source: str
    destination: str | None
    released: bool


def earlier_of(journal: Journal) -> list[Ruled]:
    """The rules that earlier runs of the same command made; they may have ended since."""
    return [
        Ruled(DID(fact["scope"], fact["name"]), fact["source"], fact["destination"], fact["released"])
        for fact in journal.facts_of("ruled")
    ]


def protect(
    client: Any, journal: Journal, dids: Sequence[DID], promise: Promise, on_note: Callable[[str], None]
) -> list[Ruled]:
    """Makes the rules of all these datasets, the protecting ones first; a rule that is there already is taken.

    Raises a Failure as `adding.add_rule`; what is registered is protected by then. Where Rucio's policy does not let
    users end their own rules, `on_note` hears of it and the copy on the source stays.
    """
    made = []
    releasing = promise.release and bool(promise.destination)
    for batch in batches(dids, _AT_ONCE):
        sources = _rules(client, batch, promise.source, 1, promise.source_lifetime)
        if not promise.destination:
            done = [Ruled(did, rule, None, False) for did, rule in zip(batch, sources, strict=True)]
        else:
            targets = _rules(client, batch, promise.destination, promise.copies, promise.lifetime)
            if releasing and not _may_release(client, sources[0]):
                releasing = False
                on_note(
                    f"This Rucio does not let users end their own rules: the copies on {promise.source} stay until "
                    "your VO's data managers end their rules, which datalake rules lists."
                )
            pairs = zip(batch, sources, targets, strict=True)
            done = [Ruled(did, source, target, releasing) for did, source, target in pairs]
            for rule in done if releasing else ():
                release(client, rule.source, str(rule.destination))
        for rule in done:
            journal.fact(
                "ruled",
                **rule.did.as_dict(),
                source=rule.source,
                destination=rule.destination,
                released=rule.released,
            )
        made += done
    return made


def left_unprotected(client: Any, did: DID, promise: Promise) -> bool:
    """Whether a dataset that is all on the source has no rule for where it is to go.

    So it is when a run was killed before it made the rules, and its journal is lost.
    """
    wanted = promise.destination or promise.source
    for rule in client.list_did_rules(did.scope, did.name):
        if rule["account"] == client.account and rule["rse_expression"] == wanted:
            return False
    return any(
        copy["rse"] == promise.source and copy["length"] and copy["available_length"] == copy["length"]
        for copy in client.list_dataset_replicas(did.scope, did.name, deep=True)
    )


def release(client: Any, source: str, destination: str) -> None:
    """The rule `source` ends when `destination` is OK. One request, one transaction."""
    client.update_replication_rule(source, {"child_rule_id": destination, "lifetime": 0})


def _may_release(client: Any, rule_id: str) -> bool:
    from jupyterhub_dlaas.datalake.replacing import Way, way_to_end

    return way_to_end(client, rule_id) is Way.BY_RUCIO


def _rules(client: Any, dids: Sequence[DID], expression: str, copies: int, lifetime: int | None) -> list[str]:
    from rucio.common.exception import DuplicateRule

    from jupyterhub_dlaas.datalake.adding import add_rule

    try:
        return add_rule(client, dids, expression, copies=copies, lifetime=lifetime, comment=_COMMENT)
    except DuplicateRule:
        # A run that was interrupted made some of them; Rucio made none of these.
        if len(dids) > 1:
            return [_rules(client, [did], expression, copies, lifetime)[0] for did in dids]
        return [rule_of(client, dids[0], expression, copies)]


def rule_of(client: Any, did: DID, expression: str, copies: int) -> str:
    """The id of the account's own rule; Rucio allows one for a dataset, an expression and a number of copies."""
    for rule in client.list_did_rules(did.scope, did.name):
        if (rule["account"], rule["rse_expression"], rule["copies"]) == (client.account, expression, copies):
            return str(rule["id"])
    raise Failure(f"Rucio has a rule for {did} at {expression}, and does not show it.", "Try again.", Code.FAILED)

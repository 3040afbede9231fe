"""Rules of the user's own: those there are, and new ones that bring data near."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from jupyterhub_dlaas.datalake.adding import add_rule
from jupyterhub_dlaas.datalake.dids import DID, batches, unknown
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Instance
from jupyterhub_dlaas.datalake.lifetime import for_rucio
from jupyterhub_dlaas.datalake.qos import qos_expression
from jupyterhub_dlaas.datalake.replacing import replace_rule
from jupyterhub_dlaas.datalake.rule import Rule, rule_of
from jupyterhub_dlaas.datalake.waiting import Progress, Stuck, states, wait_for

_AT_ONCE = 100  # rules in one request: Rucio makes all of them or none
_LOOKED_UP = 1000  # DIDs in one request
_MOST = 10_000  # rules in one call: each is work for Rucio for as long as it lasts, and a dataset needs one
_EXTENDED_BY = 0.1  # of the lifetime: a rule that would end only this much earlier is left as it is
_DAY = 86_400


def mine(client: Any, did: DID | None = None, *, state: str | None = None) -> Iterator[Rule]:
    """The user's own rules, streamed; only those for `did`, and in this `state` of Rucio's, where given."""
    filters = {"account": client.account, **(did.as_dict() if did else {})}
    for entry in client.list_replication_rules(filters):
        rule = rule_of(entry)
        if state in (None, rule.state):
            yield rule


def make_available(
    client: Any,
    instance: Instance,
    dids: Iterable[DID],
    *,
    lifetime_days: float | None = None,
    on_progress: Progress | None = None,
    wait: bool = True,
) -> list[Rule]:
    """Brings data to the storage that is mounted here, and waits until they are; one rule per DID, in their order.

    `lifetime_days` is the catalogue's unless given; infinite: without end. A rule that the user has there already is
    taken, and made to last as long where Rucio lets them: so a second call goes on where an interrupted one stopped.
    Nothing is asked for unless Rucio knows all of the DIDs, which are 10,000 at most. Without `wait` the rules are as
    Rucio made them. Raises Failure (USAGE where nothing is mounted, NOT_FOUND, NO_SPACE) and Stuck, as `wait_for`.
    """
    rule_ids = ask(client, instance, dids, lifetime_days=lifetime_days)
    if wait:
        return wait_for(client, rule_ids, on_progress=on_progress)
    made = states(client, rule_ids)
    return [made[key] for key in rule_ids]


def ask(client: Any, instance: Instance, dids: Iterable[DID], *, lifetime_days: float | None = None) -> list[str]:
    """The first half of `make_available`: the ids of the rules, new or there already, without waiting for them."""
    rse = destination(instance)
    wanted = list(dict.fromkeys(islice(dids, _MOST + 1)))
    if len(wanted) > _MOST:
        raise Failure(
            f"These are more than {_MOST:,} DIDs, and Rucio would need a rule for each.",
            "Name datasets that contain them, or make one of your own: rucio did content add",
            Code.USAGE,
        )
    days = instance.lifetime_days if lifetime_days is None else lifetime_days
    lifetime = for_rucio(None if days is None else days * _DAY)
    check_known(client, wanted)
    taken = _there(client, rse, wanted)
    for rule in taken.values():
        _extend(client, rule, lifetime)
        if rule.state == "STUCK":
            _try_again(client, rule)
    ids = {did: rule.id for did, rule in taken.items()}
    for batch in batches((did for did in wanted if did not in ids), _AT_ONCE):
        ids.update(_add(client, rse, batch, lifetime))
    return [ids[did] for did in wanted]


def destination(instance: Instance) -> str:
    """The storage (RSE) that is mounted here; a Failure (USAGE) where none is."""
    if instance.mode != "replica" or not instance.destination_rse:
        raise Failure(
            f"No storage of {instance.display_name} is mounted in this server.",
            "Copy the data instead: datalake download DID",
            Code.USAGE,
        )
    return instance.destination_rse


def check_known(client: Any, dids: Collection[DID]) -> None:
    """A Failure (NOT_FOUND) that names the first DID of these that Rucio does not know."""
    for batch in batches(dids, _LOOKED_UP):
        found = known(client, batch)
        for did in batch:
            if did not in found:
                raise unknown(did)


def known(client: Any, dids: Sequence[DID]) -> set[DID]:
    """Those of the DIDs that Rucio knows; a thousand are one request."""
    from rucio.common.exception import InvalidObject

    found: set[DID] = set()
    for batch in batches(dids, _LOOKED_UP):
        try:
            entries = list(client.get_metadata_bulk([did.as_dict() for did in batch]))
            found |= {DID(entry["scope"], entry["name"]) for entry in entries}
        except InvalidObject:  # for all of them, when one has a name that this Rucio allows for no data
            half = len(batch) // 2
            if half:
                found |= known(client, batch[:half]) | known(client, batch[half:])
    return found


def _there(client: Any, rse: str, dids: Collection[DID]) -> dict[DID, Rule]:
    """The user's own rules for these DIDs on exactly this storage; Rucio allows one each."""
    wanted = set(dids)
    filters = {"account": client.account, "rse_expression": rse}
    if len(wanted) == 1:
        filters |= next(iter(wanted)).as_dict()
    rules = (rule_of(entry) for entry in client.list_replication_rules(filters))
    return {rule.did: rule for rule in rules if rule.did in wanted}


def _add(client: Any, rse: str, dids: Sequence[DID], lifetime: int | None) -> dict[DID, str]:
    from rucio.common.exception import DuplicateRule

    try:
        return dict(
            zip(dids, add_rule(client, dids, rse, lifetime=lifetime, comment="datalake make-available"), strict=True)
        )
    except DuplicateRule:
        # Another terminal of the user's was faster with some of them; Rucio made none of these.
        faster = _there(client, rse, dids)
        if not faster:
            raise
        ids = {did: rule.id for did, rule in faster.items()}
        rest = [did for did in dids if did not in ids]
        return ids | (_add(client, rse, rest, lifetime) if rest else {})
    except Failure as failure:
        if failure.code is not Code.NO_SPACE:
            raise
        kept = {did: _kept_by_others(client, rse, did) for did in dids}
        if not all(kept.values()):
            raise
        return {did: rule.id for did, rule in kept.items() if rule}


def _kept_by_others(client: Any, rse: str, did: DID) -> Rule | None:
    """Without a quota the user reads what somebody else keeps on this storage, for as long as they do."""
    rules = (rule_of(entry) for entry in client.list_did_rules(did.scope, did.name))
    now = datetime.now(UTC)
    return next((rule for rule in rules if rule.rse_expression == rse and rule.state == "OK" and rule.lasts(now)), None)


def _extend(client: Any, rule: Rule, lifetime: int | None) -> None:
    """Makes a rule last as long as a new one would; where Rucio does not let the user, it stays as it is."""
    from rucio.common.exception import AccessDenied

    now = datetime.now(UTC)
    if rule.expires_at is None:
        return
    if lifetime is not None and rule.expires_at >= now + timedelta(seconds=lifetime * (1 - _EXTENDED_BY)):
        return
    try:
        client.update_replication_rule(rule.id, {"lifetime": lifetime})
    except AccessDenied as error:
        if not rule.lasts(now):
            raise Failure(
                f"The rule that kept {rule.did} on {rule.rse_expression} has ended, and Rucio has not removed it yet.",
                "Try again in some minutes.",
            ) from error


def _try_again(client: Any, rule: Rule) -> None:
    """Rucio repairs a stuck rule within minutes then, instead of after half an hour or more."""
    from rucio.common.exception import AccessDenied, InputValidationError

    with suppress(AccessDenied, InputValidationError):  # not permitted, or a release that does not know it
        client.update_replication_rule(rule.id, {"boost_rule": True})


__all__ = [
    "Progress",
    "Rule",
    "Stuck",
    "ask",
    "check_known",
    "destination",
    "known",
    "make_available",
    "mine",
    "qos_expression",
    "replace_rule",
    "wait_for",
]

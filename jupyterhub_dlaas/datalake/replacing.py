"""Another rule in place of one: the old one ends when all that the new one promises is there, and not before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from jupyterhub_dlaas.datalake.adding import add_rule
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.rule import Rule, rule_of
from jupyterhub_dlaas.datalake.waiting import states


class Way(Enum):
    """How an old rule can be ended, by what Rucio's policy lets the user do with their own rules.

    BY_RUCIO: at once, and Rucio spares it until the new one is OK, whatever becomes of this server. BY_WAITING: the
    policy lets the user set a lifetime, but not name a successor. NOT: the policy lets the user add rules only.
    """

    BY_RUCIO = "by Rucio"
    BY_WAITING = "by waiting"
    NOT = "not"


def replace_rule(
    client: Any,
    rule_id: str,
    rse_expression: str,
    *,
    copies: int = 1,
    lifetime: int | None = None,
    wait: Callable[[Sequence[str]], object] | None = None,
    keep_old: bool = False,
) -> str:
    """The id of a new rule for the same data; the old one ends, by Rucio itself, when the new one is OK.

    `lifetime` of the new rule in seconds, None: without end. A rule of the user's that is the new one already is
    taken, so a second call completes an interrupted one. `wait`, as `partial(wait_for, client)`, is called with the
    new id, and may raise; where Rucio's policy does not let users name a successor, the old rule is ended after it.
    Without it there, and where users may not change their rules at all, a Failure (REFUSED) is raised before anything
    is changed. `keep_old` leaves the old rule as it is.
    """
    old = states(client, [rule_id])[rule_id]
    if old.rse_expression == rse_expression and old.copies == copies:
        raise Failure(f"The rule {rule_id} is one for {rse_expression} already.", "", Code.USAGE)
    if old.replaced_by and states(client, [old.replaced_by])[old.replaced_by].rse_expression != rse_expression:
        raise Failure(
            f"The rule {rule_id} is being replaced by {old.replaced_by} already.",
            "Wait until that one is OK, and replace it: datalake rules",
            Code.USAGE,
        )
    way = Way.NOT if keep_old else way_to_end(client, rule_id)
    if way is Way.NOT and not keep_old:
        raise Failure(
            "This Rucio does not let users change or end their own rules: nothing was changed.",
            "Add a second rule with --keep-old; or ask your VO's data managers to end the old rule, or to allow it.",
            Code.REFUSED,
        )
    if way is Way.BY_WAITING and wait is None:
        raise Failure(
            "This Rucio does not end the old rule by itself: nothing was changed.",
            "Use --wait: then this command waits for the new copies and ends the old rule afterwards.",
            Code.REFUSED,
        )
    new = _add_or_take(client, old, rse_expression, copies, lifetime)
    if way is Way.BY_RUCIO and old.replaced_by != new:
        # One request, one transaction: Rucio's cleaner passes over ended rules that have a successor which is not OK.
        # When the successor is removed instead, the old rule loses its end.
        client.update_replication_rule(rule_id, {"child_rule_id": new, "lifetime": 0})
    if wait is not None:
        wait([new])
    if way is Way.BY_WAITING:
        client.update_replication_rule(rule_id, {"lifetime": 0})
    return new


def way_to_end(client: Any, rule_id: str) -> Way:
    """What Rucio's policy lets the user do with this rule; asked without changing anything.

    Permissions come first at the server. A rule as its own successor is then refused as wrong input, and an update of
    nothing is accepted, by every policy that permits them, since Rucio 1.30.
    """
    from rucio.common.exception import AccessDenied, InputValidationError

    try:
        client.update_replication_rule(rule_id, {"child_rule_id": rule_id})
    except InputValidationError:
        return Way.BY_RUCIO
    except AccessDenied:
        pass
    try:
        client.update_replication_rule(rule_id, {})
    except AccessDenied:
        return Way.NOT
    return Way.BY_WAITING


def remaining(rule: Rule) -> int | None:
    """The seconds that a rule has left, at least a minute; None: without end."""
    if rule.expires_at is None:
        return None
    return max(60, round((rule.expires_at - datetime.now(UTC)).total_seconds()))


def _add_or_take(client: Any, old: Rule, rse_expression: str, copies: int, lifetime: int | None) -> str:
    from rucio.common.exception import AccessDenied, DuplicateRule

    try:
        comment = "datalake rules"
        return add_rule(client, [old.did], rse_expression, copies=copies, lifetime=lifetime, comment=comment)[0]
    except DuplicateRule:
        filters = {"account": client.account, "rse_expression": rse_expression, **old.did.as_dict()}
        rules = [rule_of(entry) for entry in client.list_replication_rules(filters)]
        taken = next((rule for rule in rules if rule.copies == copies), None)
        if taken is None:
            raise
        left = remaining(taken)
        if left is not None and (lifetime is None or left < lifetime):
            with suppress(AccessDenied):  # then it lasts as long as it does
                client.update_replication_rule(taken.id, {"lifetime": lifetime})
        return taken.id

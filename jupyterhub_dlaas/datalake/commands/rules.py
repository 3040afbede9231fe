"""`datalake rules`."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_line, json_option, note, out, table
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lifetime import lifetime_option, until

_RULE = re.compile(r"[0-9a-f]{32}")
_STATES = ["OK", "REPLICATING", "STUCK", "SUSPENDED", "WAITING_APPROVAL", "INJECT"]


@click.command()
@click.argument("what", metavar="[DID | RULE_ID]...", nargs=-1)
@click.option("--state", type=click.Choice(_STATES, case_sensitive=False), help="Only the rules in this state.")
@click.option(
    "--qos", metavar="CLASS", help="Move the data to storages of this class: fast, safe, as your VO has them."
)
@click.option("--copies", type=click.IntRange(1), help="With --qos: how many copies; 1 unless given.")
@lifetime_option
@click.option("--wait", is_flag=True, help="With --qos: wait until the new copies are there.")
@click.option("--keep-old", is_flag=True, help="With --qos: add a rule, and leave the old one as it is.")
@instance_option
@json_option
@command_errors
def command(
    what: tuple[str, ...],
    state: str | None,
    qos: str | None,
    copies: int | None,
    lifetime: float | None,
    wait: bool,
    keep_old: bool,
    instance: str | None,
    as_json: bool,
) -> None:
    """Your rules: what Rucio keeps for you, where, until when, and how far it is.

    With --qos the data of one rule change their class of storage: a new rule is added, and Rucio ends the old one by
    itself when the new copies are there, not before. The new rule lasts as long as the old one, unless you say
    otherwise. With --json, one object per line and rule.

    \b
    Exit codes:
        0  done (with no rules: nothing is printed)
        1  with --wait: Rucio is stuck, and says why
        2  used wrongly
        3  no such rule, data or class of storage
        4  Rucio does not accept your sign-in, or does not let you; nothing was changed
        5  your quota does not suffice; nothing was changed
        6  Rucio cannot be reached
      130  interrupted

    \b
    Examples:
      datalake rules
      datalake rules 'user.alice:run-*' --state STUCK
      datalake rules --json | jq -r 'select(.state != "OK") | .did'
      datalake rules user.alice:run-7 --qos SAFE --copies 2 --lifetime forever
    """
    options = {"--copies": copies, "--lifetime": lifetime, "--wait": wait, "--keep-old": keep_old}
    changing = [name for name, used in options.items() if used]
    if qos is None and changing:
        raise Failure(f"{changing[0]} is for changing a rule.", "Say to which class of storage: --qos SAFE", Code.USAGE)
    from jupyterhub_dlaas.datalake.client import client as connect

    if qos is None:
        _show(connect(instance), what, state, as_json)
        return
    if len(what) != 1 or state:
        raise Failure("--qos changes one rule.", "Name its data, or its id from: datalake rules", Code.USAGE)
    from jupyterhub_dlaas.datalake.qos import qos_expression

    expression = qos_expression(qos)
    _change(
        connect(instance),
        what[0],
        expression,
        copies=copies or 1,
        lifetime=lifetime,
        wait=wait,
        keep_old=keep_old,
        as_json=as_json,
    )


def _show(client: Any, what: tuple[str, ...], state: str | None, as_json: bool) -> None:
    from jupyterhub_dlaas.datalake.rules import mine

    ids = {word for word in what if _RULE.fullmatch(word)}
    patterns = [word for word in what if word not in ids]
    chosen = (
        rule
        for rule in mine(client, state=state)
        if not what or rule.id in ids or any(fnmatchcase(str(rule.did), pattern) for pattern in patterns)
    )
    if as_json:
        for rule in chosen:
            json_line(rule.as_json())
        return
    first = next(chosen, None)
    if first is None:
        note("You have no such rules." if what or state else "You have no rules.")
        return

    def rows() -> Any:
        for rule in (first, *chosen):
            # Its own end has come already; Rucio spares it until then.
            kept = f"until {rule.replaced_by} is OK" if rule.replaced_by else until(rule.expires_at)
            where = rule.rse_expression if rule.copies == 1 else f"{rule.rse_expression} x {rule.copies}"
            yield rule.id, rule.did, where, rule.words, kept

    table(("RULE", "DATA", "WHERE", "STATE", "KEPT"), rows())


def _change(
    client: Any,
    what: str,
    expression: str,
    *,
    copies: int,
    lifetime: float | None,
    wait: bool,
    keep_old: bool,
    as_json: bool,
) -> None:
    from jupyterhub_dlaas.datalake.lifetime import for_rucio
    from jupyterhub_dlaas.datalake.replacing import remaining, replace_rule
    from jupyterhub_dlaas.datalake.waiting import states
    from jupyterhub_dlaas.datalake.watching import line, wait_and_show

    old = _chosen(client, what, expression, copies)
    if old.rse_expression != expression or old.copies != copies:
        new_id = replace_rule(
            client,
            old.id,
            expression,
            copies=copies,
            lifetime=remaining(old) if lifetime is None else for_rucio(lifetime),
            wait=(lambda ids: wait_and_show(client, ids)) if wait else None,
            keep_old=keep_old,
        )
    else:
        note(f"{old.did} has such a rule already.")
        new_id = old.id
    new = states(client, [new_id])[new_id]
    if as_json:
        json_line(new.as_json())
        return
    out(f"{new.id}  {line(new, client.account)}")
    if new_id != old.id:
        note(
            f"The rule {old.id} stays as it is."
            if keep_old
            else f"Rucio ends the rule {old.id}."
            if new.state == "OK"
            else f"Rucio ends the rule {old.id} when the new one is OK."
        )


def _chosen(client: Any, what: str, expression: str, copies: int) -> Any:
    """The rule to replace: the one of this id, or the user's only one for these data that is not as wanted."""
    from jupyterhub_dlaas.datalake.dids import parse
    from jupyterhub_dlaas.datalake.rules import check_known, mine
    from jupyterhub_dlaas.datalake.waiting import states

    if _RULE.fullmatch(what):
        return states(client, [what])[what]
    did = parse(what, client)
    check_known(client, [did])
    rules = [rule for rule in mine(client, did=did) if not rule.replaced_by]
    others = [rule for rule in rules if (rule.rse_expression, rule.copies) != (expression, copies)]
    if len(others) > 1:
        listed = ", ".join(f"{rule.id} ({rule.rse_expression})" for rule in others)
        raise Failure(f"You have {len(others)} rules for {did}.", f"Name the one to replace: {listed}", Code.USAGE)
    if not rules:
        raise Failure(f"You have no rule for {did}.", "Add one with: rucio rule add", Code.NOT_FOUND)
    return (others or rules)[0]

"""`datalake basket`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jupyterhub_dlaas.datalake.console import (
    command_errors,
    instance_option,
    json_line,
    json_option,
    note,
    out,
    printable,
    table,
)
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lifetime import lifetime_option

if TYPE_CHECKING:
    from jupyterhub_dlaas.datalake.basket import Reference, Resolved
    from jupyterhub_dlaas.datalake.lake import Lake


@click.command()
@click.option("-b", "--basket", "name", metavar="NAME", help="Which basket, where the server has several; else all.")
@click.option("--resolve", "resolving", is_flag=True, help="Print the DIDs that are meant, one per line.")
@click.option("--make-available", "bringing", is_flag=True, help="Bring all of it to the storage that is mounted here.")
@lifetime_option
@click.option("--no-wait", is_flag=True, help="With --make-available: do not wait until all is there.")
@instance_option
@json_option
@command_errors
def command(
    name: str | None,
    resolving: bool,
    bringing: bool,
    lifetime: float | None,
    no_wait: bool,
    instance: str | None,
    as_json: bool,
) -> None:
    """What you put into the shopping basket of a portal such as ESAP.

    Without options it is listed. What stands for no data of the lake is said on standard error, never left out. With
    --json, one object per line and item.

    \b
    Exit codes:
        0  done
        1  some items stand for no data of the lake, or Rucio is stuck with some
        2  used wrongly, or this server has no basket
        3  with --make-available: nothing in it is data of the lake
        4  the basket or Rucio does not accept your sign-in
        5  your quota on the storage does not suffice
        6  the basket or Rucio cannot be reached
      130  interrupted

    \b
    Examples:
      datalake basket
      datalake basket --resolve | xargs -d '\\n' datalake info
      datalake basket --make-available --lifetime 14d
    """
    if resolving and bringing:
        raise Failure("--resolve and --make-available exclude each other.", "Choose one.", Code.USAGE)
    if not bringing and (lifetime or no_wait):
        raise Failure("--lifetime and --no-wait are for --make-available.", "Add it, or leave them out.", Code.USAGE)
    from jupyterhub_dlaas.datalake.lake import load

    lake = load()
    found = _references(lake, name)
    if not resolving and not bringing:
        _list(found, as_json)
        return
    from jupyterhub_dlaas.datalake.basket import resolve
    from jupyterhub_dlaas.datalake.client import client as connect

    rucio = connect(instance)
    resolved = resolve([reference for _, reference in found], rucio)
    dids = list(dict.fromkeys(did for one in resolved for did in one.dids))
    if bringing:
        from jupyterhub_dlaas.datalake.watching import bring_and_print

        _tell_problems(resolved)
        if not dids:
            raise Failure("Nothing in the basket is data of the lake.", "See it with: datalake basket", Code.NOT_FOUND)
        bring_and_print(rucio, lake.instance(instance), dids, lifetime=lifetime, wait=not no_wait, json=as_json)
    elif as_json:
        for (basket, _), one in zip(found, resolved, strict=True):
            dids_of = list(map(str, one.dids))
            json_line({**_as_json(basket, one.reference), "dids": dids_of, "problem": one.problem})
    else:
        for did in dids:
            out(did)
        _tell_problems(resolved)
    unresolved = sum(bool(one.problem) for one in resolved)
    if unresolved:
        raise Failure(f"{unresolved} of {len(resolved)} items stand for no data of the lake.", "", Code.FAILED)


def _references(lake: Lake, name: str | None) -> list[tuple[str, Reference]]:
    """Everything in the baskets, each with its basket's name."""
    from jupyterhub_dlaas.datalake.basket import references

    if not lake.baskets:
        advice = "Start a server with an environment that has one; your VO's catalogue says which."
        raise Failure("This server has no shopping basket.", advice, Code.USAGE)
    chosen = [basket for basket in lake.baskets if name in (None, basket.name)]
    if not chosen:
        names = ", ".join(basket.name for basket in lake.baskets)
        raise Failure(f"This server has no basket {name!r}.", f"It has: {names}.", Code.USAGE)
    return [(basket.name, reference) for basket in chosen for reference in references(basket, user=lake.user)]


def _list(found: list[tuple[str, Reference]], as_json: bool) -> None:
    if as_json:
        for basket, reference in found:
            json_line(_as_json(basket, reference))
    elif not found:
        note("The basket is empty.")
    else:
        rows = [
            (basket, one.item.archive, one.connector.name if one.connector else "-", one.title) for basket, one in found
        ]
        table(("BASKET", "ARCHIVE", "CONNECTOR", "WHAT"), rows)


def _as_json(basket: str, reference: Reference) -> dict[str, Any]:
    item = reference.item
    return {
        "basket": basket,
        "archive": item.archive,
        "connector": reference.connector.name if reference.connector else None,
        "title": reference.title,
        "data": dict(item.data),
    }


def _tell_problems(resolved: list[Resolved]) -> None:
    for one in resolved:
        if one.problem:
            note(printable(f"{one.reference.item.archive or 'no archive'}: {one.problem}"))

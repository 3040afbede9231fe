"""`datalake ls`."""

from __future__ import annotations

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option


@click.command()
@click.argument("what", metavar="[SCOPE|DID]", required=False)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["all", "collection", "dataset", "container", "file"]),
    default="collection",
    show_default=True,
    help="Of a scope: list these alone.",
)
@instance_option
@json_option
@command_errors
def command(what: str | None, kind: str, instance: str | None, as_json: bool) -> None:
    """What is in a scope, dataset or container.

    Without a name: your own scopes; with a pattern such as '*', the scopes that match it. A scope shows its datasets
    and containers unless --type says otherwise. With --json, one object per line.

    \b
    Exit codes:
      0  done, also when there is nothing in it
      3  Rucio does not know the scope or DID

    \b
    Examples:
      datalake ls
      datalake ls '*'
      datalake ls cta
      datalake ls cta:gps-survey
      datalake ls cta:gps-crab --json | jq -r .did
    """
    from jupyterhub_dlaas.datalake import console
    from jupyterhub_dlaas.datalake.client import client
    from jupyterhub_dlaas.datalake.commands._listed import listed
    from jupyterhub_dlaas.datalake.dids import parse
    from jupyterhub_dlaas.datalake.failure import Code, Failure
    from jupyterhub_dlaas.datalake.listing import Kind, content, find, scopes

    rucio = client(instance)
    if what is None or (":" not in what and set(what) & set("*?")):
        found = scopes(rucio, what)
        for scope in found:
            console.json_line({"scope": scope}) if as_json else console.out(console.printable(scope))
        if not found and what is None:
            console.note("No scope is yours.")
        elif not found:
            raise Failure(f"No scope matches {what!r}.", "List all of them with: datalake ls '*'", Code.NOT_FOUND)
    elif ":" in what:
        listed(content(rucio, parse(what, rucio)), as_json, empty="There is nothing in it.")
    else:
        chosen: Kind = kind  # type: ignore[assignment]  # click has checked it
        empty = f"Nothing in scope {what} is of type {kind}. All there is: datalake ls {what} --type all"
        listed(find(rucio, f"{what}:*", kind=chosen), as_json, empty=empty)

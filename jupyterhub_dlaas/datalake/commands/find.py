"""`datalake find`."""

from __future__ import annotations

import sys

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option


@click.command()
@click.argument("pattern")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["all", "collection", "dataset", "container", "file"]),
    default="all",
    show_default=True,
    help="Find these alone.",
)
@click.option(
    "--where", multiple=True, metavar="CONDITION", help="On Rucio's metadata, as in 'bytes>1000000'; all must hold."
)
@instance_option
@json_option
@command_errors
def command(pattern: str, kind: str, where: tuple[str, ...], instance: str | None, as_json: bool) -> None:
    """Search the lake by scope, name and metadata.

    The pattern is SCOPE:NAME, where * stands for any characters in both. Quote it, and the conditions: the shell has
    plans of its own for * and >. With --json, one object per line.

    \b
    Exit codes:
      0  something was found
      2  the pattern has no scope, or a condition is not one
      3  nothing was found, or there is no such scope

    \b
    Examples:
      datalake find 'cta:gps-*'
      datalake find '*:*crab*' --type dataset
      datalake find 'cta:*' --type file --where 'bytes>1000000' --where 'created_after=2026-01-01T00:00:00'
      datalake find 'user.alice:run-*' --json | jq -r .did
    """
    from jupyterhub_dlaas.datalake.client import client
    from jupyterhub_dlaas.datalake.commands._listed import listed
    from jupyterhub_dlaas.datalake.failure import Code
    from jupyterhub_dlaas.datalake.listing import Kind, find

    chosen: Kind = kind  # type: ignore[assignment]  # click has checked it
    if not listed(find(client(instance), pattern, kind=chosen, where=where), as_json, empty="Nothing was found."):
        sys.exit(Code.NOT_FOUND)

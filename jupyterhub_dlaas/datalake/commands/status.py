"""`datalake status`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead, for a script.")
def command(as_json: bool) -> None:
    """Is all well? Your access, account, quotas and folders.

    Rucio is really asked, and every mounted folder is looked into; that takes some seconds, at most 20.

    \b
    Exit codes:
      0  all is well
      1  something is not; each problem comes with one line of advice
      2  this is not a data lake server, or the command was used wrongly

    \b
    Examples:
      datalake status
      datalake status --json | jq '.rucio[0].account'
    """
    from jupyterhub_dlaas.datalake.report import NoDataLake, collect

    try:
        with _waiting("Asking Rucio and looking into the mounted folders"):
            report = collect(os.environ)
    except NoDataLake as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        from jupyterhub_dlaas.datalake.show import show

        show(report)
    sys.exit(1 if report.problems else 0)


def _waiting(what: str) -> AbstractContextManager[object]:
    """A sign of life on standard error, where that is a terminal."""
    from rich.console import Console

    return Console(stderr=True).status(what) if sys.stderr.isatty() else nullcontext()

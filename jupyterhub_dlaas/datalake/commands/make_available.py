"""`datalake make-available`."""

from __future__ import annotations

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option
from jupyterhub_dlaas.datalake.lifetime import lifetime_option


@click.command()
@click.argument("dids", metavar="DID...", nargs=-1, required=True)
@lifetime_option
@click.option("--no-wait", is_flag=True, help="Ask Rucio for it, and do not wait until all is there.")
@instance_option
@json_option
@command_errors
def command(dids: tuple[str, ...], lifetime: float | None, no_wait: bool, instance: str | None, as_json: bool) -> None:
    """Bring data to the storage that is mounted here.

    Asks Rucio for a copy that is kept for as long as your VO says, unless you say otherwise, and waits until all of
    it is there. The same command again, also after Ctrl-C, takes what was asked for before and goes on waiting. With
    --json, one object per line and DID. A DID - reads DIDs from standard input.

    \b
    Exit codes:
        0  all is there (with --no-wait: asked for)
        1  Rucio is stuck with some of it, and says why
        2  used wrongly, or no storage is mounted in this server
        3  Rucio does not know one of the DIDs; nothing was asked for
        4  Rucio does not accept your sign-in, or refuses
        5  your quota on the storage does not suffice
        6  Rucio cannot be reached
      130  interrupted: Rucio goes on

    \b
    Examples:
      datalake make-available user.alice:run-7
      datalake make-available cta:dl1 cta:calibration --lifetime 30d
      datalake make-available user.alice:run-7 --no-wait && datalake rules user.alice:run-7
      datalake find 'cta:dl1-*' --type dataset --json | jq -r .did | datalake make-available -
    """
    from jupyterhub_dlaas.datalake.client import client as connect
    from jupyterhub_dlaas.datalake.commands._dids import many
    from jupyterhub_dlaas.datalake.lake import load
    from jupyterhub_dlaas.datalake.watching import bring_and_print

    rucio = connect(instance)
    here = load().instance(instance)
    bring_and_print(rucio, here, many(dids, rucio), lifetime=lifetime, wait=not no_wait, json=as_json)

"""`datalake path`."""

from __future__ import annotations

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option

_MOUNT_SECONDS = 20  # until a mount shows what was just brought to its storage


@click.command()
@click.argument("dids", metavar="DID...", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Make it available first, and wait until it is here.")
@click.option("--partial", is_flag=True, help="Print the paths of what is here although some is not.")
@click.option("-0", "--null", is_flag=True, help="End each path with a zero byte, for xargs -0.")
@instance_option
@json_option
@command_errors
def command(dids: tuple[str, ...], wait: bool, partial: bool, null: bool, instance: str | None, as_json: bool) -> None:
    """The local paths of files: for any language.

    One path per line; a dataset's or container's files each. A path is printed for a file that is there and has the
    right size. When some are missing nothing is printed on standard output, unless with --partial. With --json, one
    object per line and file, with "path": null and "why" for the missing ones. A DID - reads DIDs from standard input.

    \b
    Exit codes:
      0  all of it is here
      1  with --wait: Rucio is stuck with some of it, and says why
      2  nothing is mounted in this server: use datalake download
      3  Rucio does not know it, or there is nothing in it
      5  with --wait: your quota on the storage does not suffice
      6  the mounted storage or Rucio does not answer
      8  not all of it is here yet; standard error says what to do

    \b
    Examples:
      datalake path cta:gps-crab
      ls -l $(datalake path cta:gps-crab --wait)
      datalake path cta:gps-crab -0 | xargs -0 md5sum
      paths <- system("datalake path cta:gps-crab --wait", intern = TRUE)    # in R
    """
    from jupyterhub_dlaas.datalake.client import client
    from jupyterhub_dlaas.datalake.commands._dids import many
    from jupyterhub_dlaas.datalake.commands._paths import print_paths
    from jupyterhub_dlaas.datalake.dids import files
    from jupyterhub_dlaas.datalake.lake import load
    from jupyterhub_dlaas.datalake.local import local_paths, mounted

    rucio, chosen = client(instance), load().instance(instance)
    mounted(chosen)  # said before Rucio is asked for anything
    wanted = many(dids, rucio)
    if wait:
        from jupyterhub_dlaas.datalake.rules import ask
        from jupyterhub_dlaas.datalake.watching import wait_and_show

        known = list(wanted)
        wait_and_show(rucio, ask(rucio, chosen, known))
        wanted = iter(known)
    answers = local_paths(rucio, chosen, files(rucio, wanted), patience_seconds=_MOUNT_SECONDS if wait else 0)
    again = "" if wait else "datalake path --wait " + (dids[0] if len(dids) == 1 else "DID...")
    print_paths(answers, again=again, partial=partial, null=null, as_json=as_json)

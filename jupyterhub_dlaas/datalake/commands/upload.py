"""`datalake upload`."""

from __future__ import annotations

from typing import Any

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option
from jupyterhub_dlaas.datalake.putting import name_options, report_and_wait, rule_options, running, wish


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--rse", metavar="RSE", help="The storage to bring them to, or an RSE expression.")
@name_options
@rule_options
@instance_option
@json_option
@command_errors
def command(
    paths: tuple[str, ...],
    rse: str | None,
    wait: bool,
    dry_run: bool,
    instance: str | None,
    as_json: bool,
    **names: Any,
) -> None:
    """Bring files and folders into the data lake, large ones too.

    Files in the scratch area are not copied by this command: Rucio is told where they lie and fetches them, so the
    command is done in seconds. They are kept there until the copies are, and then removed by Rucio. Files from
    elsewhere, for instance your home, are copied to the storage while you wait.

    Folders are taken with all that is in them; links are left out. A file is named after its path, from the folder that
    you name on: results/run7/a.root. The same command again, also after Ctrl-C, goes on where it stopped, and nothing
    is registered twice. What it has done is kept in ~/.local/state/datalake.

    \b
    Names in --name: {path} {folder} {name} {stem} {suffix} {dataset}
    Allowed in a name in Rucio: letters, digits, and . _ - / (at most 250)
    Never possible in a path on scratch: # ? ; % \\ // and control characters

    \b
    Exit codes:
        0  registered, and on the way (with --wait: there)
        1  some files were left out, or a rule is stuck
        2  used wrongly, or a file's name is not possible; nothing was done
        3  a path is not there, there are no files, or no such storage
        4  Rucio does not accept your sign-in, or refuses
        5  your quota does not suffice; nothing was registered
        6  Rucio or the storage cannot be reached
        7  a file changed while it was read, or Rucio has another one of its name
      130  interrupted: the same command goes on

    \b
    Examples:
      datalake upload /scratch/results --qos SAFE
      datalake upload /scratch/run7 /scratch/run8 --dataset runs-7-8 --rse DESY-DCACHE --wait
      datalake upload /scratch/survey --container survey --qos SAFE --copies 2 --lifetime 1y
      datalake upload /scratch/run7 --qos SAFE --name 'v2/{path}' --dry-run
    """
    from jupyterhub_dlaas.datalake.client import client as connect
    from jupyterhub_dlaas.datalake.upload import upload

    asked = wish(rse=rse, **names)
    with running("Registering", instance, dry_run=dry_run, json=as_json) as run:
        report = upload(paths, asked, run)
    if not dry_run:
        report_and_wait(connect(instance), report, wait=wait, json=as_json)

"""`datalake pfn`."""

from __future__ import annotations

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option


@click.command()
@click.argument("dids", metavar="DID...", nargs=-1, required=True)
@click.option("--scheme", multiple=True, metavar="root|https|...", help="By this protocol alone; may be repeated.")
@click.option("--site", metavar="SITE", help="For a reader at this site: through its cache, where it has one.")
@click.option("--rse", metavar="EXPRESSION", help="From these storages alone, as in DESY-DCACHE or QOS=FAST.")
@click.option("--all", "every", is_flag=True, help="Every way to read a file, not just the best.")
@instance_option
@json_option
@command_errors
def command(
    dids: tuple[str, ...],
    scheme: tuple[str, ...],
    site: str | None,
    rse: str | None,
    every: bool,
    instance: str | None,
    as_json: bool,
) -> None:
    """Where jobs elsewhere read the data.

    Physical file names, one per line, ready for a job description; a dataset's or container's files each. With --json,
    one object per line and file. Without --site they lead straight to the storages.

    \b
    Exit codes:
      0  every file has one
      1  some files have none; standard error says which
      3  none has one, or Rucio does not know the DID

    \b
    Examples:
      datalake pfn cta:gps-crab --scheme root
      datalake pfn cta:gps-crab --scheme https --rse QOS=FAST
      datalake pfn cta:gps-crab --site CERN-XCACHE > inputs.txt
    """
    from jupyterhub_dlaas.datalake import console
    from jupyterhub_dlaas.datalake.client import client
    from jupyterhub_dlaas.datalake.commands._dids import many
    from jupyterhub_dlaas.datalake.failure import Code, Failure
    from jupyterhub_dlaas.datalake.places import sources

    rucio = client(instance)
    found = missing = 0
    for file in sources(rucio, many(dids, rucio), schemes=scheme, site=site, rse=rse, every=every):
        if as_json:
            console.json_line({"did": str(file.did), "pfns": list(file.pfns), "rses": list(file.rses)})
        for pfn in () if as_json else file.pfns if every else file.pfns[:1]:
            console.out(console.one_line(pfn))
        found += bool(file.pfns)
        missing += not file.pfns
        if not file.pfns and missing <= console.FEW:
            console.note(f"{console.printable(str(file.did))}: no storage has it by these means")
    if not found:
        raise Failure("No file can be read by these means.", "See datalake info DID.", Code.NOT_FOUND)
    if missing:
        raise Failure(f"{missing:,} of {found + missing:,} files have no copy that can be read by these means.")

"""`datalake info`."""

from __future__ import annotations

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option


@click.command()
@click.argument("did", metavar="DID")
@instance_option
@json_option
@command_errors
def command(did: str, instance: str | None, as_json: bool) -> None:
    """All about one DID, and how to read it here.

    Its size, its copies with their quality of service, its rules, and whether the mounted storage has it.

    \b
    Exit codes:
      0  done
      3  Rucio does not know it

    \b
    Examples:
      datalake info cta:gps-crab
      datalake info cta:gps-crab --json | jq -r '.places[].rse'
    """
    from jupyterhub_dlaas.datalake import console
    from jupyterhub_dlaas.datalake.client import client
    from jupyterhub_dlaas.datalake.dids import parse
    from jupyterhub_dlaas.datalake.here import here
    from jupyterhub_dlaas.datalake.lake import load
    from jupyterhub_dlaas.datalake.lifetime import until
    from jupyterhub_dlaas.datalake.places import describe

    lake = load()
    rucio = client(instance)
    found = describe(rucio, parse(did, rucio))
    entry = found.entry
    sentence, path = here(rucio, lake.instance(instance), found, site=lake.xcache_site)
    if as_json:
        console.as_json(
            {
                **entry.as_json(),
                "account": found.account,
                "open": found.is_open,
                "metadata": found.metadata,
                "places": [place.as_json() for place in found.places],
                "rules": [rule.as_json() for rule in found.rules],
                "here": {"words": sentence, "path": path},
            }
        )
        return
    state = "" if found.is_open is None or entry.kind == "file" else ", open" if found.is_open else ", closed"
    files = "" if entry.kind == "file" or entry.files is None else f", {entry.files:,} files"
    console.out(f"{console.printable(str(entry.did))}: {entry.kind}{state}{files}, {console.size(entry.bytes)}")
    console.out(f"Owner {found.account}" + "".join(f", {key} {value}" for key, value in _told(found.metadata)))
    console.out(f"From here: {sentence}" + (f"\n  {path}" if path else ""))
    if found.places:
        console.out("\nCopies")
        total = "" if entry.files is None else f" of {entry.files:,}"
        rows = [(p.rse, p.qos or "-", f"{p.files:,}{total}", console.size(p.bytes)) for p in found.places]
        console.table(("STORAGE", "QOS", "FILES", "SIZE"), rows)
    if found.rules:
        console.out("\nRules")
        console.table(
            ("RULE", "OF", "TO", "STATE", "KEPT"),
            [(rule.id, rule.account, rule.rse_expression, rule.words, until(rule.expires_at)) for rule in found.rules],
        )


def _told(metadata: dict[str, object]) -> list[tuple[str, object]]:
    """The metadata that a person asks for; the rest is in the JSON."""
    wanted = ("created_at", "adler32", "md5", "datatype", "run_number", "campaign")
    return [
        (key.removesuffix("_at"), f"{metadata[key]}{' UTC' if key.endswith('_at') else ''}")
        for key in wanted
        if metadata.get(key)
    ]

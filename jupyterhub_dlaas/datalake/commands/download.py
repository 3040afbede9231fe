"""`datalake download`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option

if TYPE_CHECKING:
    from jupyterhub_dlaas.datalake.downloaded import Report

_SHOWN = 10  # kinds of failures that are told on the terminal


@click.command()
@click.argument("dids", metavar="DID...", nargs=-1, required=True)
@click.option("--to", "folder", metavar="DIR", default=".", show_default="here", help="Into this folder.")
@click.option(
    "-w", "--workers", default=4, show_default=True, type=click.IntRange(1, 64), help="Files at the same time."
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there with other content.")
@instance_option
@json_option
@command_errors
def command(
    dids: tuple[str, ...], folder: str, workers: int, overwrite: bool, instance: str | None, as_json: bool
) -> None:
    """Copy files, datasets or containers into a local folder.

    The files of a dataset or container go to a folder of its name. Each is compared with Rucio's size and checksum
    before it gets its name, so that what is there is whole. Call it again after Ctrl-C or a failure: what is there is
    not fetched again. Where the environment has a cache (XCache), the files come through it; storage that wants a
    token of its own gets that.

    \b
    Exit codes:
      0  every file is there
      1  some are not, for different reasons; else the one reason:
      2  a file is there with other content, or the command was used wrongly
      3  Rucio or the storage does not have it
      4  refused
      5  no space left in the folder
      6  Rucio or the storage cannot be reached
      7  the copy at the storage is damaged
    130  interrupted

    \b
    Examples:
      datalake download user.alice:run-7 --to data
      datalake download cta:events.fits skao:image.fits
      datalake download user.alice:run-7 --to data --json | jq .downloaded
    """
    from jupyterhub_dlaas.datalake.client import client
    from jupyterhub_dlaas.datalake.console import as_json as print_json
    from jupyterhub_dlaas.datalake.console import progress
    from jupyterhub_dlaas.datalake.dids import parse
    from jupyterhub_dlaas.datalake.download import download, total_bytes

    rucio = client(instance)
    wanted = [parse(did, rucio) for did in dids]
    with progress("Downloading", total_bytes(wanted, rucio), unit="bytes") as advance:
        report = download(
            wanted, folder, instance=instance, workers=workers, overwrite=overwrite, on_progress=advance, rucio=rucio
        )
    if as_json:
        print_json(_document(report))
    else:
        _tell(report)
    sys.exit(report.code)


def _tell(report: Report) -> None:
    from jupyterhub_dlaas.datalake.console import note, out, size

    done = f"{_files(report.downloaded)} ({size(report.bytes)}) downloaded to {report.folder}"
    if report.through_cache:
        done += f", {report.through_cache:,} of them through the cache"
    out(done + (f"; {report.present:,} there already." if report.present else "."))
    if report.unverified:
        note(f"{_files(report.unverified)} without a checksum in Rucio: only the size was compared.")
    if not report.failed:
        return
    note(f"{_files(report.failed)} not downloaded:")
    kinds = Counter((entry.failure.sentence, entry.failure.advice) for entry in report.failures)
    first = {entry.failure.sentence: entry.did for entry in reversed(report.failures)}
    for (sentence, advice), count in kinds.most_common(_SHOWN):
        note(f"  {first[sentence]}{f' and {count - 1:,} more' if count > 1 else ''}: {sentence}")
        if advice:
            note(f"    -> {advice}")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _document(report: Report) -> dict[str, Any]:
    return {
        "folder": str(report.folder),
        "downloaded": report.downloaded,
        "present": report.present,
        "bytes": report.bytes,
        "unverified": report.unverified,
        "through_cache": report.through_cache,
        "failed": report.failed,
        "failures": [
            {
                "did": str(entry.did),
                "sentence": entry.failure.sentence,
                "advice": entry.failure.advice,
                "code": int(entry.failure.code),
            }
            for entry in report.failures
        ],
    }

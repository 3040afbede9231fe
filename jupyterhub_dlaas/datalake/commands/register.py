"""`datalake register`."""

from __future__ import annotations

import signal
import time
from typing import Any

import click

from jupyterhub_dlaas.datalake.console import command_errors, instance_option, json_option, note
from jupyterhub_dlaas.datalake.putting import name_options, report_and_wait, rule_options, running, wish


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--rse", metavar="RSE", required=True, help="The storage on which the files lie.")
@click.option("--mounted-at", metavar="FOLDER[=PATH]", help="The folder here that shows the storage, or PATH of it.")
@click.option("--to", metavar="RSE", help="Another storage to bring them to, or an RSE expression.")
@click.option("--release", is_flag=True, help="Let Rucio remove them here, once they are at their destination.")
@click.option("--follow", is_flag=True, help="Go on with the files that come, until told to stop (Ctrl-C, SIGTERM).")
@click.option(
    "--settled",
    type=click.FloatRange(0),
    default=30,
    metavar="SECONDS",
    help="With --follow: how long a file has not changed when it is complete; 30.",
)
@click.option(
    "--done-suffix",
    metavar="SUFFIX",
    default="",
    help="With --follow: a file is complete when there is another one of its name with this.",
)
@name_options
@rule_options
@instance_option
@json_option
@command_errors
def command(
    paths: tuple[str, ...],
    rse: str,
    mounted_at: str | None,
    to: str | None,
    release: bool,
    follow: bool,
    settled: float,
    done_suffix: str,
    wait: bool,
    dry_run: bool,
    instance: str | None,
    as_json: bool,
    **names: Any,
) -> None:
    """Make files known to Rucio that lie on a storage already.

    Nothing is copied or moved by this command. The files keep their paths, where the storage is a non-deterministic
    one; on a deterministic one they have to be where Rucio expects them. A rule keeps them there; with --to or --qos
    Rucio makes copies elsewhere, and with --release removes the files here when those are there, not before.

    With --follow the folder is watched, for instance an instrument's buffer: every file is registered as soon as it is
    complete, in datasets of up to 900 files, NAME.00001 and so on, in a container with the name of --dataset. The same
    command again goes on where it stopped. What it has done is kept in ~/.local/state/datalake.

    \b
    Exit codes:
        0  registered (with --wait: there; with --follow: told to stop)
        1  some files were left out, or a rule is stuck
        2  used wrongly, or a file's name or place is not possible
        3  a path is not there, there are no files, or no such storage
        4  Rucio does not accept your sign-in, or refuses
        5  your quota does not suffice; nothing was registered
        6  Rucio cannot be reached
        7  a file changed while it was read, or Rucio has another one of its name
      130  interrupted: the same command goes on

    \b
    Examples:
      datalake register /eos/eulake_1/user/alice/run7 --rse EULAKE-1
      datalake register /buffer/night-12 --rse OBS-BUFFER --qos SAFE --copies 2 --release
      datalake register /buffer --rse OBS-BUFFER --mounted-at /buffer --dataset obs --qos SAFE \\
          --release --follow --done-suffix .done
    """
    from jupyterhub_dlaas.datalake.client import client as connect
    from jupyterhub_dlaas.datalake.following import Following
    from jupyterhub_dlaas.datalake.register import register

    asked = wish(rse=to, **names)
    following = Following(_Stop(), settled, done_suffix) if follow else None
    with running("Registering", instance, dry_run=dry_run, json=as_json) as run:
        report = register(paths, rse, asked, run, mounted_at=mounted_at, release=release, following=following)
    if not dry_run:
        report_and_wait(connect(instance), report, wait=wait, json=as_json)


class _Stop:
    """The first SIGINT or SIGTERM asks to stop after what is at work, the second one stops at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        note("Stopping after the files that are complete. Once more: at once.")

    def __call__(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
        return self._asked

"""`register`: files that lie on a storage already, for instance in an instrument's buffer, into Rucio in place."""

from __future__ import annotations

from dataclasses import replace

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.following import Following, follow
from jupyterhub_dlaas.datalake.injecting import Report
from jupyterhub_dlaas.datalake.lake import load
from jupyterhub_dlaas.datalake.plan import Aim
from jupyterhub_dlaas.datalake.protecting import Promise
from jupyterhub_dlaas.datalake.scan import roots
from jupyterhub_dlaas.datalake.source import Source, of_rse
from jupyterhub_dlaas.datalake.upload import Paths, Run, Wish, put


def register(
    paths: Paths,
    rse: str,
    wish: Wish | None = None,
    run: Run | None = None,
    *,
    mounted_at: str | None = None,
    release: bool = False,
    following: Following | None = None,
) -> Report:
    """Registers files that lie on the storage `rse`, under the paths that they have; `wish` says what else is to be.

    `mounted_at`: the local folder that shows the storage, where this server does not know it; `FOLDER=PATH` for one
    that shows only the folder PATH of it. `release`: when the rule for the destination is OK, Rucio removes the files
    here. With `following` the paths are watched until it says to stop. Raises Failure; files that were left out are in
    the report.
    """
    wish, run = wish or Wish(), run or Run()
    named = roots(paths)
    if release and not wish.destination():
        raise Failure(
            "Nothing would be left: the files are to be released here, and no other storage is named.",
            "Name one with --to or --qos.",
            Code.USAGE,
        )
    run = replace(run, client=run.client or run.connect())
    lake = load(run.environ)
    source = of_rse(run.client, lake, lake.instance(run.instance), rse, mounted_at)
    aim = wish.aim(run.client.account, named, (source.local, "/"))
    if source.deterministic and aim.template == Wish.template:
        # There the path is made from the name, not the name from the path.
        aim = replace(aim, template="{name}")
    if aim.destination == rse:
        raise Failure(f"{rse} is where they are.", "Name another storage with --to, or none.", Code.USAGE)
    for path in named:
        source.pfn(path)
    promise = Promise(rse, aim.destination, aim.copies, aim.lifetime, release)
    if following:
        return _follow(run, named, aim, source, promise, following)
    return put(run, "register", named, aim, source, promise)


def _follow(
    run: Run, named: tuple[str, ...], aim: Aim, source: Source, promise: Promise, following: Following
) -> Report:
    if aim.container:
        raise Failure("--follow makes its own datasets in a container.", "Name it with --dataset.", Code.USAGE)
    if run.dry_run:
        raise Failure("--follow cannot be tried without doing it.", "Use --dry-run without --follow.", Code.USAGE)
    with run.journal("follow", named, aim, source.rse) as journal:
        return follow(run.client, journal, named, aim, source, promise, following, run.watcher)

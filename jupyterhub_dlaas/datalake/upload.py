"""`upload`: large results from a server into the data lake."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.injecting import Injection, Report, Watcher, nothing_found
from jupyterhub_dlaas.datalake.journal import Journal, folder
from jupyterhub_dlaas.datalake.lake import load
from jupyterhub_dlaas.datalake.names import ANY_NAME, NAME_PATTERN
from jupyterhub_dlaas.datalake.plan import Aim, Place, Planned, Survey, ascii_path, survey
from jupyterhub_dlaas.datalake.protecting import Promise, earlier_of
from jupyterhub_dlaas.datalake.scan import Found, roots, scan
from jupyterhub_dlaas.datalake.source import Source, of_scratch, scratch_of

Paths = Iterable[str | os.PathLike[str]]
_TOLD = 10  # paths left out that are said one by one


@dataclass(frozen=True)
class Wish:
    """What a person asks for; the defaults are those of the command. `lifetime` in seconds, None: without end.

    `any_name`: for a Rucio with another schema than the generic one. `dataset` and `container` may be written with
    their scope, which `scope` is for otherwise.
    """

    scope: str | None = None
    dataset: str | None = None
    container: str | None = None
    template: str = "{path}"
    safe_names: bool = False
    any_name: bool = False
    rse: str | None = None
    qos: str | None = None
    copies: int = 1
    lifetime: int | None = None

    def destination(self) -> str:
        """The RSE expression of `--rse` or `--qos`, "" for neither; a Failure (USAGE) for both."""
        from jupyterhub_dlaas.datalake.qos import qos_expression

        if self.rse and self.qos:
            raise Failure("A storage and a class are both named.", "Give --rse or --qos.", Code.USAGE)
        return qos_expression(self.qos) if self.qos else self.rse or ""

    def aim(self, account: str, named: tuple[str, ...], not_a_name: Iterable[str] = ()) -> Aim:
        """With the names that are not given made from the paths; a Failure (USAGE) where none can be."""
        if self.dataset and self.container:
            raise Failure(
                "A dataset and a container are both named.",
                "Give --dataset for one dataset, or --container for one per folder.",
                Code.USAGE,
            )
        if self.copies < 1:
            raise Failure(f"{self.copies} copies cannot be made.", "Give 1 or more.", Code.USAGE)
        given = self.container or self.dataset or _named_after(named, not_a_name)
        scope, colon, name = given.rpartition(":")
        if colon and self.scope and scope != self.scope:
            raise Failure(f"{given} is not in the scope {self.scope}.", "Give one scope.", Code.USAGE)
        return Aim(
            scope=scope or self.scope or f"user.{account}",
            dataset="" if self.container else name,
            container=name if self.container else "",
            template=self.template,
            safe_names=self.safe_names,
            pattern=ANY_NAME if self.any_name else NAME_PATTERN,
            destination=self.destination(),
            copies=self.copies,
            lifetime=self.lifetime,
        )


@dataclass(frozen=True)
class Run:
    """How a command is to be carried out. `on_survey` hears how much there is before anything is done, and may return
    the watcher for it; `show` gets each file's plan; with `dry_run` nothing is done.

    `journals`: the folder of the journals, the usual one if None. `client`: of the instance, where there is one.
    """

    instance: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    client: Any = None
    watcher: Watcher = field(default_factory=Watcher)
    on_survey: Callable[[Survey], Watcher | None] = lambda survey: None
    show: Callable[[Planned], None] | None = None
    dry_run: bool = False
    journals: Path | None = None

    def connect(self) -> Any:
        """A client of its own, for a thread of its own."""
        from jupyterhub_dlaas.datalake.client import client

        return client(self.instance, environ=self.environ)

    def journal(self, command: str, named: tuple[str, ...], aim: Aim, rse: str) -> Journal:
        """The journal of all runs of the same command with the same paths."""
        lake = load(self.environ)
        about = {
            "command": command,
            "rucio": lake.instance(self.instance).rucio_host,
            "account": self.client.account,
            "paths": sorted(named),
            "storage": rse,
            "scope": aim.scope,
            "dataset": aim.dataset,
            "container": aim.container,
            "template": aim.template,
            "destination": aim.destination,
            "copies": aim.copies,
        }
        return Journal(about, self.journals or folder(self.environ))


def upload(paths: Paths, wish: Wish, run: Run | None = None) -> Report:
    """Registers files of a scratch area and has Rucio fetch them; copies files from elsewhere to a storage.

    The files of a scratch area are not copied here: they are registered where they lie, with a rule that protects them
    there until the rule for the destination is OK. A second call goes on where an interrupted one stopped. Raises
    Failure; files that were left out are in the report.
    """
    run = run or Run()
    lake = load(run.environ)
    named = roots(paths)
    scratch = scratch_of(lake, named)
    if not wish.destination():
        raise Failure("Where are the data to go?", "Name a storage or a class: --rse NAME or --qos CLASS", Code.USAGE)
    run = replace(run, client=run.client or run.connect())
    aim = wish.aim(run.client.account, named, [os.path.realpath(each.path) for each in lake.scratch])
    if scratch is None:
        from jupyterhub_dlaas.datalake.direct import upload_directly

        return upload_directly(run, named, aim)
    source = of_scratch(run.client, scratch)
    if aim.destination == source.rse:
        raise Failure(f"{source.rse} is where they are.", "Name another storage with --rse.", Code.USAGE)
    promise = Promise(source.rse, aim.destination, aim.copies, aim.lifetime, release=True)
    return put(run, "upload", named, aim, source, promise)


def put(run: Run, command: str, named: tuple[str, ...], aim: Aim, source: Source, promise: Promise) -> Report:
    """One run of registering in place: looks at all files first, then does it."""
    with run.journal(command, named, aim, source.rse) as journal:
        wanted = [(promise.source, 1)] + ([(promise.destination, promise.copies)] if promise.destination else [])
        earlier = earlier_of(journal)
        watcher, unread = looked_at(run, journal, named, aim, source.place, wanted)
        if run.dry_run:
            return Report()
        injection = Injection(run.client, journal, aim, source, watcher)
        injection.add(scan(named, lambda path, why: None))
        report = injection.finish(promise)
        report.earlier = earlier
        for path, why in unread:
            report.refuse(path, why, Code.FAILED)
        return report


def looked_at(
    run: Run,
    journal: Journal,
    named: tuple[str, ...],
    aim: Aim,
    place: Place,
    room: Iterable[tuple[str, int]],
) -> tuple[Watcher, list[tuple[str, str]]]:
    """The first look at all files: raises a Failure for what cannot work, before anything is done.

    `room`: RSE expressions, each with how many of its storages have to have room. Returns who hears of the second look,
    and the folders that could not be read.
    """
    from jupyterhub_dlaas.datalake.quota import check_room

    skipped: list[tuple[str, str]] = []
    unread: list[tuple[str, str]] = []
    count = new_bytes = 0

    def skip(path: str, why: str) -> None:
        nonlocal count
        count += 1
        if len(skipped) < _TOLD:
            skipped.append((path, why))
        if "cannot be read" in why:
            unread.append((path, why))

    def found() -> Iterator[Found]:
        nonlocal new_bytes
        for each in scan(named, skip):
            new_bytes += 0 if each.mark in journal.registered else each.size
            yield each

    seen = survey(found(), aim, place, run.show)
    for path, why in skipped:
        run.watcher.note(f"{ascii_path(path)} is left out: {why}.")
    if count > len(skipped):
        run.watcher.note(f"{count - len(skipped)} more are left out.")
    seen.check()
    if not seen.files and not journal.registered:
        raise nothing_found(named)
    for expression, copies in room if new_bytes or run.dry_run else ():
        check_room(run.client, expression, new_bytes, copies=copies)
    return run.on_survey(seen) or run.watcher, unread


def _named_after(named: tuple[str, ...], not_a_name: Iterable[str]) -> str:
    common = named[0] if len(named) == 1 else os.path.commonpath(named)
    if os.path.isfile(common):
        common = os.path.dirname(common)
    name = os.path.basename(common)
    if not name or common in not_a_name:
        raise Failure("The dataset needs a name.", "Add --dataset NAME.", Code.USAGE)
    return name

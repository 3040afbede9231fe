"""What the commands `upload` and `register` have in common: their options, progress, and what they print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jupyterhub_dlaas.datalake.lifetime import lifetime_option

if TYPE_CHECKING:
    from jupyterhub_dlaas.datalake.injecting import Report
    from jupyterhub_dlaas.datalake.plan import Planned, Survey
    from jupyterhub_dlaas.datalake.upload import Run, Wish

F = TypeVar("F", bound=Callable[..., Any])
_LARGE = 10_000_000  # bytes of an average file, from which on progress is counted in bytes
_TOLD = 10  # rules that are printed one by one


def name_options(function: F) -> F:
    """How files, datasets and containers are called."""
    for option in (
        click.option("--any-name", is_flag=True, help="Leave it to your Rucio which names are possible."),
        click.option("--safe-names", is_flag=True, help="Write _ in a name for what Rucio does not allow there."),
        click.option("--name", "template", metavar="TEMPLATE", default="{path}", help="Names of the files; {path}."),
        click.option("--container", metavar="NAME", help="A dataset for each folder, all of them in this container."),
        click.option("--dataset", metavar="NAME", help="One dataset for all files; the folder's name unless given."),
        click.option("--scope", metavar="SCOPE", help="The scope of all names; user.ACCOUNT unless given."),
    ):
        function = option(function)
    return function


def rule_options(function: F) -> F:
    """What is to be kept, and whether to wait for it."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Print what would be done with each file, and do nothing."),
        click.option("--wait", is_flag=True, help="Wait until all is at its destination."),
        lifetime_option,
        click.option("--copies", type=click.IntRange(1), default=1, help="How many copies, each at another storage."),
        click.option("--qos", metavar="CLASS", help="Bring them to storage of this class, as your VO has them."),
    ):
        function = option(function)
    return function


def wish(*, lifetime: float | None, **asked: Any) -> Wish:
    """What the options say; a lifetime without an end is Rucio's None."""
    from jupyterhub_dlaas.datalake.lifetime import for_rucio
    from jupyterhub_dlaas.datalake.upload import Wish

    return Wish(lifetime=for_rucio(lifetime), **asked)


@contextmanager
def running(what: str, instance: str | None, *, dry_run: bool, json: bool) -> Iterator[Run]:
    """A run that shows its progress and, where it is a dry one, its plan."""
    from jupyterhub_dlaas.datalake.console import json_line, note, out, printable, progress, size
    from jupyterhub_dlaas.datalake.injecting import Watcher
    from jupyterhub_dlaas.datalake.upload import Run

    with ExitStack() as stack:

        def on_survey(survey: Survey) -> Watcher:
            datasets = f"{survey.datasets:,} dataset{'' if survey.datasets == 1 else 's'}"
            note(f"{survey.files:,} file{'' if survey.files == 1 else 's'} of {size(survey.bytes)} in {datasets}.")
            if dry_run:
                note("Nothing was done.")
                return Watcher(note=note)
            if survey.bytes >= _LARGE * max(survey.files, 1):
                return Watcher(bytes=stack.enter_context(progress(what, survey.bytes, unit="bytes")), note=note)
            return Watcher(files=stack.enter_context(progress(what, survey.files)), note=note)

        def show(planned: Planned) -> None:
            did = f"{planned.dataset.scope}:{planned.name}"
            if json:
                json_line(
                    {
                        "path": planned.found.path,
                        "did": did,
                        "dataset": str(planned.dataset),
                        "pfn": planned.pfn or None,
                    }
                )
            else:
                where = f"  {planned.pfn}" if planned.pfn else ""
                out(f"{printable(planned.found.path)} -> {did} in {planned.dataset}{printable(where)}")

        yield Run(
            instance=instance,
            watcher=Watcher(note=note),
            on_survey=on_survey,
            show=show if dry_run else None,
            dry_run=dry_run,
        )


def report_and_wait(client: Any, report: Report, *, wait: bool, json: bool) -> None:
    """What was done on standard output; what was left out on standard error, and as a Failure at the end."""
    from jupyterhub_dlaas.datalake.console import as_json, note, out, size
    from jupyterhub_dlaas.datalake.failure import Failure
    from jupyterhub_dlaas.datalake.waiting import Stuck
    from jupyterhub_dlaas.datalake.watching import line, wait_and_show

    stuck: Stuck | None = None
    rules = []
    waited_for = report.waited_for() + (_still_there(client, report) if wait else [])
    if wait and waited_for:
        try:
            rules = wait_and_show(client, waited_for, "Copies there")
        except Stuck as error:
            stuck, rules = error, error.rules
    if json:
        as_json({**report.as_json(), "rules_now": [rule.as_json() for rule in rules]})
    else:
        already = f", {report.already:,} were already" if report.already else ""
        out(f"{report.files:,} file{'' if report.files == 1 else 's'} of {size(report.bytes)} registered{already}.")
        for rule in rules[:_TOLD]:
            out(line(rule, client.account))
        for ruled in report.rules[:_TOLD] if not rules else ():
            out(f"{ruled.did}: rule {ruled.destination or ruled.source}")
        if len(report.rules) > _TOLD:
            out(f"and {len(report.rules) - _TOLD} more: datalake rules")
        if report.rules and not wait and any(ruled.destination for ruled in report.rules):
            note(f"On the way. See how far they are: datalake rules '{report.rules[0].did}'")
    if report.bad:
        shown = [f"  {path}: {why}" for path, why in report.refused]
        more = [f"  and {report.bad - len(shown)} more"] if report.bad > len(shown) else []
        raise Failure(
            "\n".join([f"{report.bad:,} file{' was' if report.bad == 1 else 's were'} left out:", *shown, *more]),
            "The same command again takes them, once that is mended.",
            report.code,
        )
    if stuck:
        raise stuck


def _still_there(client: Any, report: Report) -> list[str]:
    """Rules of earlier runs of the same command that have not ended."""
    from rucio.common.exception import RuleNotFound

    there = []
    for ruled in report.earlier:
        rule_id = ruled.destination or ruled.source
        try:
            client.get_replication_rule(rule_id)
        except RuleNotFound:
            continue
        there.append(rule_id)
    return there

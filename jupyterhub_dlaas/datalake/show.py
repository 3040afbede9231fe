"""A report as a person reads it in a terminal."""

from __future__ import annotations

from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jupyterhub_dlaas.datalake.console import size
from jupyterhub_dlaas.datalake.report import Access, Report


def show(report: Report, console: Console | None = None) -> None:
    """Prints the report: what there is first, then each problem with what to do about it."""
    console = console or Console(highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"Data lake, {report.environment}", title_justify="left")
    for heading in ("", "What", "State", "Details"):
        table.add_column(heading, overflow="fold")
    for entry in report.access:
        used_by = f"for {', '.join(entry.used_by)}" if entry.used_by else ""
        table.add_row(_mark(entry.works), Text(f"Access to {entry.name}"), Text(_valid(entry)), Text(used_by))
    for account in report.rucio:
        state = f"account {account.account}" if account.account else "account unknown"
        table.add_row(_mark(not account.problem), Text(f"Rucio: {account.display_name}"), state, Text(account.host))
    for folder in report.mounts:
        table.add_row(_mark(folder.alive), Text(folder.name), "mounted" if folder.alive else "not there", folder.path)
    for quota in report.quotas:
        limit = "no quota" if quota.limit is None else f"of {size(quota.limit)}"
        held = f"{size(quota.used)} {limit}"
        table.add_row(_mark(not quota.problem), Text(f"Quota at {quota.rse}"), held, f"{quota.files:,} files")
    if report.cache_site:
        table.add_row("", "Cache", Text(report.cache_site), "downloads go through it")
    console.print(table)
    if not report.problems:
        console.print("All is well.")
    for problem in report.problems:
        console.print(Text(f"{problem.about}: {problem.sentence}"))
        console.print(Text(f"  -> {problem.advice}"))


def _mark(well: bool) -> Text:
    return Text("ok", style="green") if well else Text("!!", style="bold red")


def _valid(entry: Access) -> str:
    if entry.valid_until is None:
        return "valid" if entry.works else "none"
    until = datetime.fromtimestamp(entry.valid_until).astimezone()
    today = until.date() == datetime.now().astimezone().date()
    return f"{'until' if entry.works else 'expired'} {until:%H:%M:%S}" + ("" if today else f" on {until:%-d %b}")

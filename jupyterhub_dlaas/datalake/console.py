"""Everything that the commands print: data on standard output, all else on standard error."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Literal, ParamSpec

import click

from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of

P = ParamSpec("P")
Unit = Literal["files", "bytes"]

instance_option = click.option(
    "-i", "--instance", metavar="NAME", help="Which Rucio, where the server has several; the first unless named."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead, for a script.")


def command_errors(function: Callable[P, object]) -> Callable[P, None]:
    """A failure becomes a sentence, its advice and its exit code. Goes directly above a command's function.

    Ctrl-C ends with 130 and a sentence; a reader that goes away (`| head`) ends the command quietly. A bug is raised.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes standard output once more at its end, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(Code.OK)
        except KeyboardInterrupt:
            note("\nInterrupted. The same command goes on where this one stopped.")
            sys.exit(Code.INTERRUPTED)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            tell(failure)
            sys.exit(failure.code)

    return run


def tell(failure: Failure) -> None:
    """The sentence and the advice, on standard error."""
    note(failure.sentence)
    if failure.advice:
        note(f"  -> {failure.advice}")


def out(text: object = "") -> None:
    """A line of data, on standard output."""
    click.echo(str(text))


def note(text: object) -> None:
    """A line for the person who watches, on standard error."""
    click.echo(str(text), err=True)


def as_json(value: object) -> None:
    """One JSON value on standard output; what JSON has no type for is written as a string."""
    click.echo(json.dumps(value, indent=2, default=str))


def json_line(value: object) -> None:
    """One JSON value in one line on standard output: for lists that may be long."""
    click.echo(json.dumps(value, default=str))


def one_line(text: str) -> str:
    """The text as it is; a Failure (USAGE) if a reader of lines would take it for two."""
    if "\n" in text or "\r" in text:
        raise Failure(f"{text!r} has a line break in it.", "Use --json.", Code.USAGE)
    return text


FEW = 5  # of many problems of one kind, shown one by one
_MEASURED = 1000  # rows: the widths of a table are those of its first thousand


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under their headings, printed as they come; half a million take no memory, and none prints nothing."""
    from rich.cells import cell_len

    lines = ([printable("" if cell is None else str(cell)) for cell in row] for row in rows)
    first = list(islice(lines, _MEASURED))
    if not first:
        return
    widths = [max(map(cell_len, column)) for column in zip(headings, *first, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    click.secho(line(list(headings)), bold=True)
    for cells in chain(first, lines):
        click.echo(line(cells))


def printable(text: str) -> str:
    """The text with control characters written out, so that a name cannot break a line or a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def size(count: float | None) -> str:
    """Bytes as a person reads them: 1.5 GB is 1,500,000,000."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} PB"


@contextmanager
def progress(
    what: str, total: int | None = None, *, unit: Unit = "files", every_seconds: float = 10
) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how many more are done.

    A bar on standard error where that is a terminal, else a line now and then.
    """
    if sys.stderr.isatty():
        with _bar(what, total, unit) as more:
            yield more
        return
    done, last = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, last
        done += more
        if time.monotonic() - last >= every_seconds:
            last = time.monotonic()
            shown = size if unit == "bytes" else "{:,.0f}".format
            note(f"{what}: {shown(done)}" + (f" of {shown(total)}" if total else ""))

    yield advance


@contextmanager
def _bar(what: str, total: int | None, unit: Unit) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn()]
    columns += [DownloadColumn(), TransferSpeedColumn()] if unit == "bytes" else [MofNCompleteColumn()]
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)

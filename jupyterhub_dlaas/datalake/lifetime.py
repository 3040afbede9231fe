"""How long data are kept: `7d` as people write it, seconds as Rucio takes it."""

from __future__ import annotations

import re
from datetime import datetime

import click

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_WRITTEN = re.compile(
    r"(\d+(?:\.\d+)?)\s*(m|min|minutes?|h|hours?|d|days?|w|weeks?|y|years?|)", re.IGNORECASE | re.ASCII
)
_FOREVER = {"forever", "never", "none", "unlimited"}
FOREVER = float("inf")


def seconds_of(text: str) -> float:
    """`7` and `7d` are days, `12h` hours, `2w` weeks, `1y` years, `forever` is infinite; ValueError for all else."""
    if text.strip().lower() in _FOREVER:
        return FOREVER
    written = _WRITTEN.fullmatch(text.strip())
    if not written or float(written[1]) <= 0:
        raise ValueError(f"{text!r} is not a time: write 7d, 12h, 2w or forever.")
    return float(written[1]) * _SECONDS[written[2][:1].lower() or "d"]


def for_rucio(seconds: float | None) -> int | None:
    """A lifetime as Rucio takes it: whole seconds, None for one without an end."""
    return None if seconds is None or seconds == FOREVER else round(seconds)


def until(instant: datetime | None) -> str:
    """`until 28 Nov 2026 09:30`, in the time of this server; `without end`."""
    return f"until {instant.astimezone():%-d %b %Y %H:%M}" if instant else "without end"


def _seconds(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else seconds_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


# The value is in seconds, FOREVER for a lifetime without an end, None where the option is not used.
lifetime_option = click.option(
    "--lifetime", callback=_seconds, metavar="TIME", help="How long to keep them: 7d, 12h, 2w or forever."
)

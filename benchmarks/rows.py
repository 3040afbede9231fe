"""One line of the table that `make bench` prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured, the baseline's figure and ours from the same run, the ratio ours/baseline and its target."""

    what: str
    baseline: str
    ours: str
    ratio: str
    target: str
    met: bool


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    head = ("What", "Baseline", "Ours", "Ratio", "Target", "Met")
    cells = [(row.what, row.baseline, row.ours, row.ratio, row.target, "yes" if row.met else "**no**") for row in rows]
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in [head, *cells]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)

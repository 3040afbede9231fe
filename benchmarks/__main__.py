"""`make bench`: everything is measured side by side in one run and printed as one table; `--write` puts it into docs.

`python -m benchmarks bundle login` runs these only.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Callable
from pathlib import Path

from benchmarks import agent_memory, hub, iam_requests
from benchmarks.rows import Row, table

PARTS: dict[str, Callable[[], list[Row]]] = {
    "bundle": hub.bundle,
    "login": hub.login,
    "storm": hub.storm,
    "expiry": hub.expiry,
    "iam": iam_requests.rows,
    "agent": agent_memory.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--write", type=Path, help="also write the table to this Markdown file")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    rows: list[Row] = []
    for name in options.parts or PARTS:
        print(f"measuring {name} ...", flush=True)
        rows += PARTS[name]()
    print(table(rows))
    if options.write:
        about = f"{os.cpu_count()} cores, Python {platform.python_version()}, {datetime.date.today():%Y-%m-%d}"
        options.write.write_text(f"Measured on {about}.\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()

"""`make bench`: everything is measured side by side in one run and printed as one table; `--write` puts it into docs.

`python -m benchmarks bundle login` runs these only, `lake` all of the command `datalake`; `make bench-cluster` those
that need a Kubernetes cluster.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    agent_memory,
    cluster,
    hub,
    iam_requests,
    lake_download,
    lake_memory,
    lake_path,
    lake_register,
    lake_register_memory,
    options,
)
from benchmarks.rows import Row, table

NEED_A_CLUSTER: dict[str, Callable[[], list[Row]]] = {
    "pod-start": cluster.starts,
    "agent-image": cluster.agent_image,
    "pods-together": cluster.together,
    "options": options.rows,
}
PARTS: dict[str, Callable[[], list[Row]]] = {
    "bundle": hub.bundle,
    "login": hub.login,
    "storm": hub.storm,
    "expiry": hub.expiry,
    "iam": iam_requests.rows,
    "agent": agent_memory.rows,
}
LAKE: dict[str, Callable[[], list[Row]]] = {
    "lake-path": lake_path.rows,
    "lake-download": lake_download.rows,
    "lake-memory": lake_memory.rows,
    "lake-register": lake_register.rows,
    "lake-register-memory": lake_register_memory.rows,
}


def main() -> None:
    known = {**PARTS, **LAKE, **NEED_A_CLUSTER}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    offered = f"of {', '.join(known)}, or lake, which is those of `datalake`; {', '.join(PARTS)} if none is named"
    parser.add_argument("parts", nargs="*", metavar="PART", help=offered)
    parser.add_argument("--write", type=Path, help="also write the table to this Markdown file")
    given = parser.parse_args()
    unknown = set(given.parts) - set(known) - {"lake"}
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    rows: list[Row] = []
    for name in [part for each in given.parts or PARTS for part in (LAKE if each == "lake" else [each])]:
        print(f"measuring {name} ...", flush=True)
        rows += known[name]()
    print(table(rows))
    if given.write:
        about = f"{os.cpu_count()} cores, Python {platform.python_version()}, {datetime.date.today():%Y-%m-%d}"
        given.write.write_text(f"Measured on {about}.\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()

"""The last cleaning of a scratch area, for node_exporter's textfile collector."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from jupyterhub_dlaas.admin.scratch_clean import Counts

_LABELS = ("path", "rse")
FILES = "dlaas_scratch_files"
BYTES = "dlaas_scratch_bytes"
FOLDERS = "dlaas_scratch_folders"
LAST_RUN = "dlaas_scratch_last_run_timestamp_seconds"
SUCCESS = "dlaas_scratch_success"
NAMES = (FILES, BYTES, FOLDERS, LAST_RUN, SUCCESS)


def write(file: str, *, path: str, rse: str, counts: Counts | None, dry_run: bool, ok: bool) -> None:
    """Writes `file` whole or not at all (a new one is put in its place). Raises OSError.

    Without `counts` (Rucio was not asked, or the cleaning ended in the middle) there is only that it failed, and when.
    """
    registry = CollectorRegistry()
    where = (path, rse)

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, (*_LABELS, *labels), registry=registry)

    gauge(LAST_RUN, "When the last cleaning ended.").labels(*where).set(time.time())
    gauge(SUCCESS, "1: the last cleaning did all that it had to do.").labels(*where).set(ok)
    if counts is not None:
        gone = "removable" if dry_run else "removed"
        files = gauge(FILES, "Files and links that the last cleaning found, by what became of them.", "state")
        for state in ("young", "known", "spared", "changed", "failed", "missing"):
            files.labels(*where, state).set(getattr(counts, state))
        files.labels(*where, gone).set(counts.removed)
        size = gauge(BYTES, "Their bytes.", "state")
        for state, number in (
            ("young", counts.young_bytes),
            ("known", counts.known_bytes),
            (gone, counts.removed_bytes),
        ):
            size.labels(*where, state).set(number)
        gauge(FOLDERS, "Folders that the last cleaning removed, or would remove.", "state").labels(*where, gone).set(
            counts.removed_folders
        )
    write_to_textfile(file, registry)

"""What `datalake register` holds in memory with half a million files, beside a thousand.

The files are real, and empty; Rucio is an object that says yes, because a real one would take an hour to fill. What is
measured is the process that looks, sums, plans, keeps its journal and asks.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peak import peak
from benchmarks.rows import Row

MANY, FEW = 500_000, 1_000
MOST_MB = 300
RSE = "BUFFER-SCRATCHDISK"


def rows(many: int = MANY) -> list[Row]:
    """One row for a first run, one for a second run of the same command, which finds all in its journal."""
    with tempfile.TemporaryDirectory(prefix="dlaas-bench-") as name:
        folder = Path(name)
        few = _peak(folder / "few", FEW)
        first = _peak(folder / "many", many)
        again = _peak(folder / "many", many, registered=0)
    return [
        Row(
            f"datalake register, {many:,} files{what}: memory",
            f"{FEW:,} files {few:.0f} MB",
            f"{most:.0f} MB",
            f"{most / few:.2f}",
            f"<= {MOST_MB} MB",
            most <= MOST_MB,
        )
        for what, most in (("", first), (", again", again))
    ]


def _peak(place: Path, files: int, registered: int | None = None) -> float:
    """The peak resident memory in MB of registering so many files."""
    _fill(place, files)
    command = [sys.executable, "-m", "benchmarks.lake_register_memory", str(place)]
    with tempfile.TemporaryFile() as out:
        megabytes, code, errors = peak(command, os.environ, out)
        out.seek(0)
        printed = out.read().decode().strip()
    assert (code, printed) == (0, str(files if registered is None else registered)), printed + errors
    return megabytes


def _fill(place: Path, files: int) -> None:
    if place.exists():
        return
    for part in range(0, files, 10_000):
        folder = place / "buffer" / f"part{part:07d}"
        folder.mkdir(parents=True)
        for number in range(part, min(part + 10_000, files)):
            os.close(os.open(folder / f"observation_{number:08d}.dat", os.O_CREAT | os.O_WRONLY))
    lake = {"version": 1, "user": "alice", "account": "alice", "auth_type": "oidc", "scratch": [], "baskets": []}
    instance = {"name": "lake", "rucio_host": "http://127.0.0.1:1", "mode": "download"}
    (place / "datalake.json").write_text(json.dumps({**lake, "instances": [instance]}))


class _SaysYes:
    """The calls of Rucio's client that `register` makes."""

    account = "alice"

    def get_rse(self, rse: str) -> Mapping[str, Any]:
        domains = {"wan": {"read": 1, "write": 1}}
        protocol = {"scheme": "root", "hostname": "host", "port": 1094, "prefix": "//buffer/", "domains": domains}
        return {"rse": rse, "deterministic": False, "protocols": [protocol]}

    def list_rses(self, expression: str) -> Iterator[Mapping[str, str]]:
        return iter([{"rse": expression}])

    def get_local_account_usage(self, account: str) -> Iterator[Mapping[str, Any]]:
        return iter([{"rse": RSE, "bytes_limit": 10**15, "bytes_remaining": 10**15}])

    def get_metadata_bulk(self, dids: Sequence[Mapping[str, str]]) -> Iterator[Mapping[str, Any]]:
        return iter(())

    def list_did_rules(self, scope: str, name: str) -> Iterator[Mapping[str, Any]]:
        return iter(())

    def add_dids(self, dids: Any) -> bool:
        return True

    def add_replicas(self, rse: str, files: Any) -> bool:
        return True

    def attach_dids_to_dids(self, attachments: Any, ignore_duplicate: bool) -> bool:
        json.dumps(attachments)
        return True

    def add_replication_rule(self, dids: Sequence[Any], *_: Any, **__: Any) -> list[str]:
        return [f"{number:032x}" for number in range(len(dids))]


def main() -> None:
    place = Path(sys.argv[1])
    # As in the command: Rucio's clients are loaded.
    import rucio.client  # noqa: F401

    from jupyterhub_dlaas.datalake.register import register
    from jupyterhub_dlaas.datalake.upload import Run, Wish

    run = Run(environ={"DLAAS_DIR": str(place)}, client=_SaysYes(), journals=place / "journals")
    wish = Wish(dataset="observations")
    report = register([place / "buffer"], RSE, wish, run, mounted_at=str(place / "buffer"))
    print(report.files)


if __name__ == "__main__":
    main()

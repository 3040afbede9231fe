"""`datalake path` for many files of a dataset, beside what rucio-jupyterlab does for each file, on the same real Rucio.

The extension's own code (`ReplicaModeHandler` with its `RucioAPI`) is asked for one file after another, as its panel
does for what was added to a notebook, for as many files as take a few seconds; the rest is extrapolated. Ours is the
whole command in a process of its own, Python's start included, and looks at every file on disk, which the extension
does not.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from jupyterhub_dlaas.datalake.dids import DID, batches

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the lake of the tests

ASKED = 100  # files that the extension is asked for one by one
ROUNDS = 3


def rows(files: int = 10_000) -> list[Row]:
    """The command beside the extension file by file, and beside its one question for a whole dataset."""
    from support.lake_user import LakeUser
    from support.rucio_lake import running_lake

    with running_lake(daemons=False) as lake, tempfile.TemporaryDirectory(prefix="dlaas-bench-") as folder:
        alice = LakeUser(lake, "alice", Path(folder))
        dataset = _dataset(lake, alice, files)
        extension = _Extension(alice)
        names = [f"{dataset.name}.{number * (files // ASKED):05d}" for number in range(ASKED)]
        ours, each = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            done = alice.datalake("path", dataset)
            ours.append(time.perf_counter() - started)
            assert (done.code, done.out.count("\n")) == (0, files), done.err
            each.append(_taken(lambda: [extension.path(dataset.scope, name) for name in names]) / ASKED)
        dataset_at_once = _taken(lambda: extension.all(dataset.scope, dataset.name, files))
    mine, one = statistics.median(ours), statistics.median(each)
    ratio = one * files / mine
    return [
        Row(
            f"datalake path, {files:,} files of a dataset",
            f"rucio-jupyterlab, file by file: {one * files:.0f} s",
            f"{mine:.2f} s",
            f"{ratio:.0f} x",
            ">= 20 x",
            ratio >= 20,
        ),
        Row(
            "the same",
            f"its one question for the dataset: {dataset_at_once:.2f} s",
            f"{mine:.2f} s, each file looked at",
            f"{dataset_at_once / mine:.1f} x",
            "",
            True,
        ),
    ]


def _dataset(lake: Any, alice: Any, files: int) -> DID:
    """A dataset with this many files of five bytes on the mounted storage."""
    dataset = DID(alice.scope, alice.name_of("dataset"))
    lake.root.add_dataset(dataset.scope, dataset.name)
    everyone = ({"scope": dataset.scope, "name": f"{dataset.name}.{number:05d}"} for number in range(files))
    for batch in batches(everyone, 250):
        lake.root.add_replicas(lake.mounted, [{**did, "bytes": 5, "adler32": "00000001"} for did in batch])
        lake.root.attach_dids(dataset.scope, dataset.name, batch)
        for replica in lake.root.list_replicas(batch):
            path = Path("/" + replica["rses"][lake.mounted][0].partition("://")[2].partition("/")[2])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"12345")
    return dataset


class _Extension:
    """The extension's own functions, signed in as alice, with a cache of its own."""

    def __init__(self, alice: Any) -> None:
        logging.getLogger("rucio_jupyterlab").setLevel(logging.ERROR)
        os.environ["RUCIO_CACHE_DIR"] = str(alice.folder / "extension")
        from rucio_jupyterlab.mode_handlers.replica import ReplicaModeHandler
        from rucio_jupyterlab.rucio import RucioAPI

        instance = {
            "name": "lake",
            "rucio_base_url": alice.lake.url,
            "mode": "replica",
            "destination_rse": alice.lake.mounted,
            "rse_mount_path": str(alice.mount),
            "path_begins_at": len(alice.mount.parts) - 1,
            "oidc_auth": "file",
            "oidc_file_name": str(alice.token_file),
            "rucio_ca_cert": False,
        }
        self._handler = ReplicaModeHandler("lake", RucioAPI(instance, "oidc", {"account": alice.account}))

    def path(self, scope: str, name: str) -> None:
        (found,) = self._handler.get_did_details(scope, name, force_fetch=True)
        assert Path(found["path"]).exists()

    def all(self, scope: str, name: str, files: int) -> None:
        assert len(self._handler.get_did_details(scope, name, force_fetch=True)) == files


def _taken(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

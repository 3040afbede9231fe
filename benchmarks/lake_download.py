"""`datalake download` of a dataset beside `rucio download` of it: checksums on, the same number of files at once."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the servers that the tests have, too

FILES, BYTES, AT_ONCE, ROUNDS = 200, 5_000_000, 4, 3


def rows() -> list[Row]:
    """From a file system; and over root://, where XRootD's servers are installed."""
    from support.lake_user import LakeUser
    from support.rucio_lake import running_lake

    with running_lake() as lake, _folder() as folder:
        alice = LakeUser(lake, "alice", folder / "alice")
        found = [_row("file system", alice, alice.make_dataset(FILES, BYTES, lake.remote), folder)]
    return [*found, *_over_root()]


def _over_root() -> list[Row]:
    from storage.daemons import LabError
    from storage.lake import StorageLake, StorageUser
    from storage.layout import SITE_B
    from storage.plane import Lab, remove, temporary_folder

    place = temporary_folder()
    try:
        with Lab(place) as lab, _folder() as folder:
            alice = StorageUser(StorageLake(lab), "alice", folder / "alice")
            return [_row("XRootD", alice, alice.make_dataset(FILES, BYTES, SITE_B), folder)]
    except LabError as error:
        print(f"not measured over root://: {error}", flush=True)
        return []
    finally:
        remove(place)


def _row(storage: str, alice: Any, did: Any, folder: Path) -> Row:
    rucio = ["rucio", "download", "--ndownloader", str(AT_ONCE), "--dir"]
    ours = ["datalake", "download", "--workers", str(AT_ONCE), "--to"]
    seconds: dict[str, list[float]] = {"rucio": [], "ours": []}
    for round_ in range(ROUNDS + 1):
        for name, command in (("rucio", rucio), ("ours", ours)):
            taken = _timed(lambda to, command=command: _call(alice, [*command, str(to), str(did)]), folder / "to")
            if round_:  # the first one is for the caches
                seconds[name].append(taken)
    before, after = (statistics.median(seconds[name]) for name in ("rucio", "ours"))
    return Row(
        what=f"Download of {FILES} files of {BYTES // 1_000_000} MB from {storage}, checksums on, {AT_ONCE} at once",
        baseline=f"`rucio download`: {before:.1f} s",
        ours=f"`datalake download`: {after:.1f} s",
        ratio=f"{before / after:.1f} x",
        target="≥ 1.0 x",
        met=after <= before,
    )


def _timed(action: Callable[[Path], None], to: Path) -> float:
    to.mkdir()
    began = time.perf_counter()
    action(to)
    taken = time.perf_counter() - began
    whole = [path for path in to.rglob("*") if path.is_file() and path.stat().st_size == BYTES]
    assert len(whole) == FILES, f"{len(whole)} files came"
    shutil.rmtree(to)
    return taken


def _call(alice: Any, command: list[str]) -> None:
    path = Path(sys.executable).with_name(command[0])
    subprocess.run([path, *command[1:]], env=alice.environ, check=True, capture_output=True, stdin=subprocess.DEVNULL)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lake-download-") as name:
        yield Path(name)

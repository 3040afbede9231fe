"""Registering files that lie on a scratch area, beside what one would do by hand; and adler32 beside two others'.

All three leave the same in the same real Rucio: replicas with size and adler32, in one dataset, with a rule. `rucio
upload` is called for each file, as in a shell loop, for as many files as take some seconds; the rest is extrapolated.
The plain script is what a person would write with Rucio's Python client and the largest requests that the server takes.
Every one is a process of its own, Python's start included.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the lake of the tests

FILES, BYTES, UPLOADED, ROUNDS = 5_000, 10_000, 100, 3
LARGE = 2 << 30  # bytes
PREFIX, VO_SCOPE = "file://localhost:0", "bench"
SCRIPT = """
import sys, zlib
from pathlib import Path
from rucio.client import Client

folder, rse, prefix, scope, dataset = Path(sys.argv[1]), *sys.argv[2:]
client = Client()
files = []
for path in sorted(folder.rglob("*.dat")):
    content = path.read_bytes()
    files.append({"scope": scope, "name": f"{folder.name}/{path.relative_to(folder)}", "bytes": len(content),
                  "adler32": f"{zlib.adler32(content):08x}", "pfn": f"{prefix}{path}"})
client.add_dataset(scope, dataset)
for start in range(0, len(files), 900):
    batch = files[start:start + 900]
    client.add_replicas(rse, [dict(file) for file in batch])
    client.attach_dids(scope, dataset, [{"scope": file["scope"], "name": file["name"]} for file in batch])
client.add_replication_rule([{"scope": scope, "name": dataset}], 1, rse)
"""


def rows(files: int = FILES, uploaded: int = UPLOADED, large: int = LARGE) -> list[Row]:
    """Three rows for registering, two for adler32."""
    return [*_registering(files, uploaded), *_summing(large)]


def _registering(files: int, uploaded: int) -> list[Row]:
    from support.lake_user import LakeUser
    from support.rucio_lake import running_lake

    with running_lake(daemons=False) as lake, tempfile.TemporaryDirectory(prefix="dlaas-bench-") as name:
        alice = LakeUser(lake, "alice", Path(name) / "alice")
        script = Path(name) / "script.py"
        script.write_text(SCRIPT)
        lake.root.add_scope("alice", VO_SCOPE)
        own, vo = (_beside_a_script(alice, script, scope, files) for scope in (alice.scope, VO_SCOPE))
        loop = _uploaded(alice, uploaded) / uploaded * files
    what = f"register {files:,} files of a dataset from scratch"
    return [
        Row(
            what,
            f"`rucio upload --register-after-upload` in a loop: {loop:.0f} s",
            f"{own[0]:.1f} s",
            f"{loop / own[0]:.0f} x",
            ">= 20 x",
            loop >= 20 * own[0],
        ),
        *(
            Row(
                where,
                f"a plain script with `add_replicas`: {plain:.1f} s",
                f"{ours:.1f} s",
                f"{plain / ours:.2f} x",
                ">= 1.0 x",
                plain >= ours,
            )
            for where, (ours, plain) in (("the same", own), ("the same, in a scope of the VO", vo))
        ),
    ]


def _beside_a_script(alice: Any, script: Path, scope: str, files: int) -> tuple[float, float]:
    """Seconds of `datalake register` and of the script, the medians of some rounds."""
    lake = alice.lake
    ours, plain = list[float](), list[float]()
    for round_ in range(ROUNDS):
        # Turn about, so that neither always meets the fuller database.
        for seconds in (ours, plain) if round_ % 2 else (plain, ours):
            folder = _folder(alice, files)
            if seconds is ours:
                command = ["datalake", "register", str(folder), "--rse", lake.scratch, "--scope", scope]
            else:
                command = [sys.executable, str(script), str(folder), lake.scratch, PREFIX, scope, folder.name]
            seconds.append(_taken(alice, command))
            assert len(list(lake.root.list_files(scope, folder.name))) == files
    return statistics.median(ours), statistics.median(plain)


def _folder(alice: Any, files: int) -> Path:
    name = alice.name_of("bench")
    content = os.urandom(BYTES)
    for part in range(5):
        (alice.scratch / name / f"part{part}").mkdir(parents=True)
    for number in range(files):
        path = alice.scratch / name / f"part{number % 5}" / f"f{number:06d}.dat"
        path.write_bytes(number.to_bytes(8, "little") + content)
    folder: Path = alice.scratch / name
    return folder


def _uploaded(alice: Any, files: int) -> float:
    """Seconds of `rucio upload` for each of the files, to a storage that names files itself."""
    lake, rse = alice.lake, "BENCH-USERDISK"
    disk = alice.folder / "disk"
    disk.mkdir()
    lake.add_disk(rse, disk, quota=10**12)
    dataset = f"{alice.scope}:{alice.name_of('loop')}"
    folder = _folder(alice, files)
    began = time.perf_counter()
    for path in sorted(folder.rglob("*.dat")):
        command = ["rucio", "upload", "--register-after-upload", "--rse", rse, "--scope", alice.scope]
        _call(alice, [*command, dataset, str(path)])
    taken = time.perf_counter() - began
    assert len(list(lake.root.list_files(alice.scope, dataset.partition(":")[2]))) == files
    return taken


def _taken(alice: Any, command: list[str]) -> float:
    began = time.perf_counter()
    _call(alice, command)
    return time.perf_counter() - began


def _call(alice: Any, command: list[str]) -> None:
    done = subprocess.run(command, env=alice.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def _summing(size: int) -> list[Row]:
    """Of a file in the page cache: what is compared is the summing, not the disk."""
    from rucio.common.checksum import adler32 as rucio

    from jupyterhub_dlaas.datalake.checksum import adler32

    with tempfile.TemporaryDirectory(prefix="dlaas-bench-") as name:
        path = Path(name) / "large"
        block = os.urandom(1 << 24)
        with path.open("wb") as file:
            for _ in range(size >> 24):
                file.write(block)
        others: dict[str, tuple[Callable[[], object], str, float]] = {
            "Rucio's own": (lambda: rucio(str(path)), ">= 1.0 x", 1.0)
        }
        if shutil.which("xrdadler32"):
            others["`xrdadler32`"] = (lambda: _xrdadler32(path), ">= 0.83 x (within 1.2 x)", 1 / 1.2)
        seconds: dict[str, list[float]] = {"ours": [], **{other: [] for other in others}}
        rucio(str(path))  # so that all of it is in the cache for the first, too
        for _ in range(ROUNDS):
            for other, action in [("ours", lambda: adler32(path)), *((key, value[0]) for key, value in others.items())]:
                began = time.perf_counter()
                action()
                seconds[other].append(time.perf_counter() - began)
    mine = statistics.median(seconds["ours"])
    return [
        Row(
            f"adler32 of {size / 1e9:.1f} GB",
            f"{other}: {statistics.median(seconds[other]):.2f} s",
            f"{mine:.2f} s",
            f"{statistics.median(seconds[other]) / mine:.2f} x",
            target,
            statistics.median(seconds[other]) >= least * mine,
        )
        for other, (_, target, least) in others.items()
    ]


def _xrdadler32(path: Path) -> None:
    """It keeps the sum in an attribute of the file, and would not read it a second time."""
    for attribute in os.listxattr(path):
        os.removexattr(path, attribute)
    subprocess.run(["xrdadler32", str(path)], check=True, capture_output=True)

"""A real Rucio server with two sites and a scratch area, and people who use it through real files and commands.

One server for the whole session (start about 8 s; SQLite, so one request at a time). Every user fixture has a scratch
folder, a home and names of its own, so tests do not meet; accounts and their rules are shared.

RSEs: `lake.mounted` EULAKE-1 (QOS=FAST, mounted at `alice.mount`), `lake.remote` DESY-DCACHE (QOS=SAFE),
`lake.scratch` LAKE-SCRATCHDISK (QOS=SCRATCH, non-deterministic, its prefix is `lake.scratch_folder()`). A file goes
from disk as soon as no rule protects it any more; one that never had a rule stays. Daemons run every half second; a
rule that got STUCK is tried again after 30 s. Everybody may use 10 GiB at each RSE, bob 1 MiB at DESY-DCACHE.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.leaks import Leaks, LogReader, children
from support.rucio_lake import RucioLake, running_lake

_logs = LogReader()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """After each test no token is in any log, in a user's home, or in a process's environment or arguments."""
    lake = request.getfixturevalue("lake") if "lake" in request.fixturenames else None
    yield
    leaks = Leaks()
    for folder in (lake.folder, lake.settings.folder) if lake else ():
        _logs.look(leaks, folder)
    for path in tmp_path.glob("*/home/**/*"):  # journals of uploads, for one
        if path.is_file() and not path.is_symlink():
            leaks.text(str(path), path.read_text(errors="replace"))
    leaks.processes(children())
    assert not leaks.found, leaks.found


@pytest.fixture(scope="session")
def lake() -> Iterator[RucioLake]:
    """The running lake."""
    with running_lake() as running:
        yield running


@pytest.fixture
def alice(lake: RucioLake, tmp_path: Path) -> LakeUser:
    """Somebody with a data lake server."""
    return LakeUser(lake, "alice", tmp_path / "alice")


@pytest.fixture
def bob(lake: RucioLake, tmp_path: Path) -> LakeUser:
    """Somebody else, with a small quota at DESY-DCACHE."""
    return LakeUser(lake, "bob", tmp_path / "bob")

"""The storage lab, started once for all tests, and scientists who use it: the fixtures of `tests/rucio`, on XRootD.

RSEs (`storage.layout`): `lake.mounted` SITE-A (QOS=FAST, mounted at `alice.mount` by FUSE), `lake.remote` SITE-B
(QOS=SAFE), `lake.scratch` SCRATCH-SCRATCHDISK (QOS=SCRATCH; its server exports the folder `lake.scratch_folder()`), and
SITE-T, SITE-T-HTTPS and their USERDISKs, whose server wants a token. Rucio copies between the first three.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.leaks import Leaks, LogReader, children

from storage.lake import StorageLake, StorageUser
from storage.layout import CACHE_SITE, TOKEN_CACHE_SITE
from storage.plane import Lab, remove, temporary_folder

_logs = LogReader()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The running servers."""
    folder = temporary_folder()
    try:
        with Lab(folder) as running:
            yield running
    finally:
        remove(folder)


@pytest.fixture(scope="session")
def lake(lab: Lab) -> StorageLake:
    """Rucio over them."""
    return StorageLake(lab)


@pytest.fixture
def alice(lake: StorageLake, tmp_path: Path) -> StorageUser:
    """Somebody with a data lake server."""
    return StorageUser(lake, "alice", tmp_path / "alice")


@pytest.fixture
def bob(lake: StorageLake, tmp_path: Path) -> StorageUser:
    """Somebody else."""
    return StorageUser(lake, "bob", tmp_path / "bob")


@pytest.fixture
def cached_alice(lab: Lab, tmp_path: Path) -> StorageUser:
    """alice in an environment that reads through the open cache."""
    return StorageUser(StorageLake(lab, CACHE_SITE), "alice", tmp_path / "cached-alice")


@pytest.fixture
def token_cached_alice(lab: Lab, tmp_path: Path) -> StorageUser:
    """alice in an environment that reads through the cache that wants a token."""
    return StorageUser(StorageLake(lab, TOKEN_CACHE_SITE), "alice", tmp_path / "token-cached-alice")


@pytest.fixture(autouse=True)
def no_leaks(lab: Lab) -> Iterator[None]:
    """After each test no token is in any log, and in no process's environment or arguments."""
    yield
    leaks = Leaks()
    _logs.look(leaks, lab.layout.logs)
    leaks.processes(children())
    assert not leaks.found, leaks.found

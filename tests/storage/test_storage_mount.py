"""SITE-A as a folder, and what is left of it when its server or the mount dies."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.lake import StorageLake, StorageUser
from storage.layout import SITE_A
from storage.mount import is_mounted, unmount
from storage.plane import Lab


@pytest.fixture
def seen(lake: StorageLake, alice: StorageUser) -> Path:
    """A file at SITE-A as the mount shows it."""
    dataset = alice.make_dataset(1, 300_000, SITE_A)
    (file,) = lake.root.list_files(dataset.scope, dataset.name)
    kept = lake.path(SITE_A, file["scope"], file["name"])
    return lake.mount / kept.relative_to(lake.layout.data("site-a") / "site-a")


def _read(path: Path, seconds: float = 15) -> str:
    """How a reader fares: "ok" or the name of its error; a process of its own, as a dead mount may hold it for ever."""
    code = "import sys\ntry: open(sys.argv[1], 'rb').read()\nexcept OSError as e: sys.exit(e.errno)"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(path)], timeout=seconds, check=False)
    return errno.errorcode[done.returncode] if done.returncode else "ok"


def test_the_mount_shows_what_the_server_has(lake: StorageLake, seen: Path) -> None:
    kept = lake.layout.data("site-a") / "site-a" / seen.relative_to(lake.mount)
    assert seen.read_bytes() == kept.read_bytes()


def test_the_mount_is_read_only(seen: Path) -> None:
    with pytest.raises(OSError, match="Read-only"):
        seen.write_bytes(b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts for everybody")
def test_everybody_on_the_machine_sees_it(seen: Path) -> None:
    assert (
        subprocess.run(["setpriv", "--reuid", "1000", "--clear-groups", "cat", seen], capture_output=True).returncode
        == 0
    )


def test_a_dead_server_is_an_error_at_once_and_heals(lake: StorageLake, lab: Lab, seen: Path) -> None:
    """It looks as if the file were gone: XRootD's client says so of a server that it cannot reach."""
    lab.daemons["site-a"].stop(hard=True)
    try:
        assert _read(seen) == "ENOENT"
    finally:
        lab.daemons["site-a"].start()
    lake.until(lambda: _read(seen) == "ok", seconds=10, what="the mount heals")


def test_a_dead_mount_says_so_and_a_new_one_heals(lab: Lab, seen: Path) -> None:
    lab.daemons["mount"].stop(hard=True)
    try:
        assert is_mounted(lab.layout.mount)
        assert _read(seen) == "ENOTCONN"
    finally:
        unmount(lab.layout.mount)
        lab.daemons["mount"].start()
    assert _read(seen) == "ok"

"""What Rucio's generic policy alone lets an ordinary account do, and why there is a package in `config/rucio`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import POLICIES, POLICY, RucioLake, running_lake
from support.scratch_steps import refused, register, rule_to


@pytest.fixture(scope="module")
def generic() -> Iterator[RucioLake]:
    """A lake without the policy package."""
    with running_lake(policy="") as running:
        yield running


@pytest.fixture
def user(generic: RucioLake, tmp_path: Path) -> LakeUser:
    return LakeUser(generic, "alice", tmp_path / "alice")


def test_files_are_registered_in_place_and_copied_without_the_package(generic: RucioLake, user: LakeUser) -> None:
    dataset, (name,), _ = register(user, {"a.dat": b"a" * 100})
    assert generic.settled(rule_to(user, generic.remote, dataset))["state"] == "OK"
    assert generic.path(generic.remote, user.scope, name).read_bytes() == b"a" * 100


def test_nobody_changes_or_deletes_even_their_own_rule_without_the_package(user: LakeUser) -> None:
    dataset, _, old = register(user, {"a.dat": b"a"})
    new = rule_to(user, user.lake.remote, dataset)
    assert refused(user, "PUT", f"rules/{old}", {"options": {"child_rule_id": new, "lifetime": 0}})
    assert refused(user, "PUT", f"rules/{old}", {"options": {"lifetime": 0}})
    assert refused(user, "DELETE", f"rules/{old}", {"purge_replicas": None})


def test_a_lifetime_from_the_beginning_does_not_wait_for_the_other_copy(generic: RucioLake, user: LakeUser) -> None:
    # So it is no way out: the last copy would go from disk although the transfer got stuck.
    dataset, _, old = register(user, {"a.dat": b"a", "b.dat": b"b"}, lifetime=1)
    (user.scratch / "b.dat").rename(user.scratch / "hidden")
    rule_to(user, generic.remote, dataset)
    generic.gone(old)


def test_rucio_does_not_start_with_a_package_made_for_another_release(generic: RucioLake, tmp_path: Path) -> None:
    package = shutil.copytree(POLICIES / POLICY, tmp_path / POLICY, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text('SUPPORTED_VERSION = [">=99"]\n')
    ended = subprocess.run(
        [sys.executable, "-c", "import rucio.core.permission"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "RUCIO_CONFIG": str(generic.settings.cfg),
            "RUCIO_POLICY_PACKAGE": POLICY,
        },
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "PolicyPackageVersionError" in ended.stderr

"""`datalake upload` at a Rucio whose policy does not let users end their own rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import running_lake


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[LakeUser]:
    with running_lake(policy="") as lake:
        yield LakeUser(lake, "alice", tmp_path / "alice")


def test_the_scratch_copy_stays_and_that_is_said(alice: LakeUser) -> None:
    alice.write_scratch({"run/x.dat": b"x"})

    done = alice.datalake("upload", alice.scratch / "run", "--qos", "SAFE", "--json")

    assert done.code == 0, done
    assert "the copies on LAKE-SCRATCHDISK stay until your VO's data managers end their rules" in done.err
    (ruled,) = json.loads(done.out)["rules"]
    assert ruled["source_released"] is False
    assert alice.lake.root.get_replication_rule(ruled["source_rule"])["expires_at"] is None
    assert (alice.scratch / "run/x.dat").exists()

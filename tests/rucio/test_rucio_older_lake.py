"""A lake that an older release filled: it gets what is new, and keeps what it has."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from pathlib import Path

from support.rucio_lake import RucioLake, run_once

from jupyterhub_dlaas.demo.lake import config
from jupyterhub_dlaas.demo.lake.config import SCRATCH_RSE, Lake

BOOTSTRAP = "jupyterhub_dlaas.demo.lake.bootstrap"


def rows(lake: Lake, query: str) -> list[tuple]:
    with sqlite3.connect(lake.database) as database:
        found = database.execute(query).fetchall()
        database.commit()
    database.close()
    return found


def test_a_lake_without_a_scratch_area_gets_one(lake: RucioLake, tmp_path: Path) -> None:
    old = dataclasses.replace(
        lake.settings,
        folder=tmp_path / "rucio",
        mount=tmp_path / "mount",
        remote=tmp_path / "remote",
        scratch=tmp_path / "scratch",
        policy="",
    )
    config.write(old)
    environment = config.environment(old, {**os.environ, "TMPDIR": str(tmp_path)})
    run_once(tmp_path, environment, BOOTSTRAP)
    for table, column in (
        ("rse_attr_map", "rse_id"),
        ("rse_protocols", "rse_id"),
        ("distances", "src_rse_id"),
        ("distances", "dest_rse_id"),
        ("account_limits", "rse_id"),
        ("rses", "id"),
    ):
        rows(old, f"DELETE FROM {table} WHERE {column} = (SELECT id FROM rses WHERE rse = '{SCRATCH_RSE}')")
    old.filled.write_text(json.dumps(json.loads(old.people)[1:]))
    kept = rows(old, "SELECT id, rse FROM rses ORDER BY rse")
    assert len(kept) == 2 and not old.complete

    run_once(tmp_path, environment, BOOTSTRAP)

    assert old.complete
    now = rows(old, "SELECT id, rse, deterministic FROM rses ORDER BY rse")
    assert [entry[:2] for entry in now if entry[1] != SCRATCH_RSE] == kept
    assert [bool(entry[2]) for entry in now if entry[1] == SCRATCH_RSE] == [False]
    assert len(rows(old, "SELECT * FROM distances")) == 6
    assert len(rows(old, "SELECT * FROM rse_attr_map WHERE key = 'QOS'")) == 3

"""`dlaas catalogue check --ask-rucio` reads the RSEs of a real Rucio."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.rucio_lake import RucioLake

from jupyterhub_dlaas.demo.lake import config

CATALOGUE = """
vo: escape
rucio_instances:
  lake: {{rucio_host: "{url}", audience: rucio, mode: download}}
environments:
  - {{name: root, image: "registry.example.org/root:1", rucio: [lake], xcache_site: CERN-XCACHE}}
"""


@pytest.fixture
def by_https(lake: RucioLake) -> Iterator[str]:
    """Another RSE for the time of one test, read by https."""
    name = "CACHE-CHECK-HTTPS"
    lake.root.add_rse(name, deterministic=True)
    protocol = {
        "scheme": "https",
        "hostname": "storage.example.org",
        "port": 443,
        "prefix": "/rucio/",
        "impl": "rucio.rse.protocols.webdav.Default",
        "domains": {"wan": {"read": 1}},
    }
    lake.root.add_protocol(name, protocol)
    yield name
    lake.root.delete_rse(name)


def test_an_rse_that_is_read_by_https_is_found(lake: RucioLake, by_https: str, tmp_path: Path) -> None:
    (tmp_path / "escape.yaml").write_text(CATALOGUE.format(url=lake.url))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/rucio.cfg").write_text(
        f"[client]\nrucio_host = {lake.url}\nauth_host = {lake.url}\nauth_type = userpass\naccount = root\n"
        f"username = {config.ROOT_USER}\npassword = {lake.settings.root_password}\n"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RUCIO")}
    command = [sys.executable, "-m", "jupyterhub_dlaas.admin.cli", "catalogue", "check", "--ask-rucio"]
    done = subprocess.run(
        [*command, str(tmp_path / "escape.yaml")],
        env={**kept, "RUCIO_HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1, done.stdout
    assert f"xcache_site: lake: {by_https} is read by https: downloads through the cache of CERN-XCACHE" in warnings[0]

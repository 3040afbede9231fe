"""Whatever Rucio does, a command says it in a sentence, with advice and its exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.scripted_rucio import Says, ScriptedRucio, error, scripted_rucio

from jupyterhub_dlaas.datalake.cli import main
from jupyterhub_dlaas.datalake.rucio_client import LakeClient

COMMANDS = [
    ["ls"],
    ["ls", "cta"],
    ["ls", "cta:a"],
    ["find", "cta:*"],
    ["info", "cta:a"],
    ["path", "cta:a"],
    ["path", "cta:a", "cta:b"],
    ["path", "--wait", "cta:a"],
    ["pfn", "cta:a"],
]


@pytest.fixture
def rucio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedRucio]:
    """A server's files with one Rucio, which is not waited for."""
    with scripted_rucio() as running:
        (tmp_path / "token").write_text("eyJsecret.e30.x")
        instance = {"name": "lake", "display_name": "Test Lake", "rucio_host": running.url, "mode": "replica"}
        instance |= {"token": str(tmp_path / "token"), "destination_rse": "HERE", "mount": str(tmp_path)}
        lake = {"version": 1, "user": "alice", "account": "alice", "auth_type": "oidc", "instances": [instance]}
        (tmp_path / "datalake.json").write_text(json.dumps(lake))
        monkeypatch.setenv("DLAAS_DIR", str(tmp_path))
        monkeypatch.setattr(LakeClient, "pauses", (0.0,))
        yield running


def datalake(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("says", "code"),
    [
        (Says(502, b"<html>Bad gateway</html>"), 6),
        (Says(503, b""), 6),
        (Says(500, b"<html>"), 6),
        (Says(drop=True), 6),
        (error(401, "CannotAuthenticate", "Cannot authenticate with given credentials"), 4),
        (error(401, "AccessDenied", "Account alice may not do this"), 4),
        (error(404, "DataIdentifierNotFound", "Data identifier 'cta:a' not found"), 3),
    ],
    ids=["502", "503", "500", "dropped", "401", "denied", "unknown"],
)
def test_fault_is_a_sentence_and_a_code(rucio, arguments, says, code):
    rucio.otherwise = says
    result = datalake(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) in (1, 2)
    assert lines[0].endswith((".", "found", "this", "credentials"))
    assert "eyJ" not in result.stderr


def test_silence_is_unreachable(rucio, monkeypatch):
    monkeypatch.setattr(LakeClient, "timeout", property(lambda self: 0.1, lambda self, value: None), raising=False)
    rucio.otherwise = Says(hang=True)
    result = datalake("ls")
    assert (result.exit_code, "does not answer" in result.stderr) == (6, True)


def test_certificate_that_is_not_trusted_is_said(rucio, tmp_path):
    lake = json.loads((tmp_path / "datalake.json").read_text())
    lake["instances"][0]["rucio_host"] = rucio.url.replace("http://", "https://")
    (tmp_path / "datalake.json").write_text(json.dumps(lake))
    assert datalake("ls").exit_code == 6

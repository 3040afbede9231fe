"""What the demo's Rucio reads, and how its transfers verify what they copied."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest

from jupyterhub_dlaas.demo.lake import config, copying


@pytest.fixture
def lake(tmp_path: Path) -> config.Lake:
    return config.Lake(
        folder=tmp_path / "rucio",
        mount=tmp_path / "eulake",
        remote=tmp_path / "desy",
        scratch=tmp_path / "scratch",
        port=18080,
        issuer="http://127.0.0.1:18081/",
        client_id="rucio",
        client_secret="rucio-%secret",
        root_password="p%w",
        accounts=(config.Account("alice", "1-2-3", "alice@example.org", {"DESY-DCACHE": 5}),),
    )


def test_the_configuration_is_read_back_with_its_values(lake: config.Lake) -> None:
    config.write(lake)
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(lake.cfg)
    assert parser["database"]["default"] == f"sqlite:///{lake.database}"
    assert parser["bootstrap"]["userpass_pwd"] == "p%w"
    assert parser["oidc"]["expected_audience"] == "rucio"


def test_the_issuer_has_an_scim_client_without_which_rucio_refuses_every_token(lake: config.Lake) -> None:
    issuer = json.loads(config.render(lake)["idpsecrets.json"])["demo"]
    assert issuer["issuer"] == lake.issuer
    assert issuer["SCIM"]["client_id"] == "rucio"


def test_files_with_secrets_are_closed_to_others(lake: config.Lake) -> None:
    config.write(lake)
    assert {path.stat().st_mode & 0o777 for path in lake.cfg.parent.iterdir()} == {0o600}


def test_an_interrupted_first_start_begins_anew(lake: config.Lake) -> None:
    lake.folder.mkdir()
    lake.database.write_text("half")
    config.write(lake)
    assert not lake.database.exists()


def test_a_complete_database_is_kept(lake: config.Lake) -> None:
    lake.folder.mkdir()
    lake.database.write_text("whole")
    lake.filled.touch()
    config.write(lake)
    assert lake.database.read_text() == "whole"


def test_a_lake_survives_json(lake: config.Lake) -> None:
    assert config.Lake.from_json(lake.to_json()) == lake


def test_rucios_processes_inherit_no_clients_settings(lake: config.Lake) -> None:
    inherited = {"RUCIO_ACCOUNT": "x", "X509_USER_PROXY": "/p", "BEARER_TOKEN": "t", "PATH": "/bin"}
    added = {"RUCIO_CONFIG", "RUCIO_POLICY_PACKAGE", "NO_PROXY", "no_proxy"}
    assert set(config.environment(lake, inherited)) == {"PATH"} | added


def test_a_lake_of_an_older_layout_is_not_complete(lake: config.Lake) -> None:
    lake.folder.mkdir()
    lake.filled.write_text(lake.people)
    assert lake.complete
    lake.filled.write_text(json.dumps(json.loads(lake.people)[1:]))
    assert not lake.complete


def test_the_policy_package_is_the_one_that_sites_get() -> None:
    ours = Path(config.__file__).parent / "dlaas_policy"
    theirs = Path(__file__).parents[3] / "config" / "rucio" / "dlaas_policy"
    for name in ("__init__.py", "permission.py"):
        assert (ours / name).read_text() == (theirs / name).read_text()


def test_one_worker_and_one_thread_because_of_sqlite(lake: config.Lake) -> None:
    command = config.server_command(lake, "python")
    assert command[command.index("--workers") + 1] == command[command.index("--threads") + 1] == "1"


def test_a_copy_arrives_whole_and_verified(tmp_path: Path) -> None:
    source, destination = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_bytes(b"data" * 1000)
    assert copying.copy(source, destination) == ""
    assert copying.difference(destination, 4000, copying.checksum(source)) == ""
    assert [path.name for path in destination.parent.iterdir()] == ["b"]


def test_a_missing_source_is_a_problem_with_its_path(tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in copying.copy(tmp_path / "gone", tmp_path / "b")


@pytest.mark.parametrize(("size", "adler32"), [(5, None), (4, "00000001")])
def test_a_wrong_size_or_checksum_is_found(tmp_path: Path, size: int, adler32: str | None) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"data")
    assert str(path) in copying.difference(path, size, adler32)


def test_checksum_is_written_as_rucio_does(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    assert copying.checksum(path) == "00000001"


def test_a_pfn_is_a_path_on_this_machine_in_which_nothing_is_quoted() -> None:
    assert copying.path_of("file://localhost:0/data/a%20b c") == Path("/data/a%20b c")

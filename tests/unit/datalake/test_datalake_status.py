"""`datalake status` says what is really there, and never hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_samples import clean_environ, in_an_hour, jwt, tokens
from click.testing import CliRunner, Result

from jupyterhub_dlaas.bundle.token import TokenState, Trouble
from jupyterhub_dlaas.datalake.cli import main
from jupyterhub_dlaas.datalake.probe import problem_of
from jupyterhub_dlaas.datalake.report import collect


def status(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["status", *arguments], terminal_width=200)


def test_all_is_well(lake):
    lake()
    result = status()
    assert (result.exit_code, "All is well." in result.output) == (0, True), result.output


def test_json_has_account_access_and_mounts(lake, tmp_path):
    lake()
    report = json.loads(status("--json").output)
    assert report["ok"] is True
    assert [entry["account"] for entry in report["rucio"]] == ["alice", "alice"]
    assert [entry["works"] for entry in report["access"]] == [True, True, True]
    assert [(entry["path"], entry["alive"]) for entry in report["mounts"]] == [
        (str(tmp_path / "eos"), True),
        (str(tmp_path / "scratch"), True),
    ]


def test_each_rucio_gets_its_own_token(lake, rucio, ska):
    until = in_an_hour()
    lake(tokens(expires_at=until))
    collect(os.environ)
    assert (rucio.tokens, ska.tokens) == ([jwt("rucio", until)], [jwt("ska-rucio", until)])


def test_refused_token_is_a_problem_with_advice(lake, rucio):
    lake()
    rucio.behaviour = "refused"
    result = status()
    assert result.exit_code == 1
    assert "does not accept your sign-in" in result.output
    assert "Ask your VO's data managers" in result.output


def test_hanging_rucio_is_given_up(lake, rucio):
    lake()
    rucio.behaviour = "hang"
    report = collect(os.environ, rucio_seconds=3)
    assert [entry.problem[:21] for entry in report.rucio] == ["It cannot be reached ", ""]


def test_rucio_that_is_down_is_a_problem_and_the_other_still_answers(lake, rucio):
    lake()
    rucio.shutdown()
    rucio.server_close()
    report = collect(os.environ)
    assert [(entry.account, bool(entry.problem)) for entry in report.rucio] == [("", True), ("alice", False)]


def test_other_account_than_the_hubs_is_a_problem(lake, rucio):
    lake()
    rucio.account = "bob"
    assert "It knows you as bob, not as alice." in status().output


def test_expired_token_is_seen_in_the_file_itself(lake, rucio):
    lake(tokens(expires_at=1_000_000_000))
    result = status()
    assert result.exit_code == 1
    assert "Its token has expired." in result.output
    assert rucio.tokens == []


def test_hubs_problem_is_shown_with_advice_for_its_class(lake):
    no = TokenState("ska-rucio", None, None, None, Trouble("no_entitlement", "IAM does not let you use it.", 1e9))
    lake({**tokens("rucio", "eos-eulake", expires_at=in_an_hour()), "ska-rucio": no})
    report = json.loads(status("--json").output)
    assert report["problems"] == [
        {
            "about": "Access to ska-rucio",
            "sentence": "IAM does not let you use it.",
            "advice": "Ask your VO's managers for the group that gives access to it, then log in to the hub again.",
        }
    ]


def test_outage_with_a_living_token_still_works(lake):
    until = in_an_hour()
    old = TokenState(
        "rucio", tokens("rucio", expires_at=until)["rucio"].token, until, 1e9, Trouble("outage", "Late.", 1)
    )
    lake({**tokens(expires_at=until), "rucio": old})
    report = collect(os.environ)
    assert (report.access[0].works, report.rucio[0].account) == (True, "alice")


def test_shared_server_says_why_and_asks_nobody(lake, rucio):
    lake(withheld="This server is shared, so it has no access of yours.")
    result = status()
    assert (result.exit_code, rucio.tokens) == (1, [])
    assert "Stop sharing the server" in result.output


def test_missing_mount_is_a_problem(lake, tmp_path):
    lake()
    (tmp_path / "scratch").rmdir()
    result = status()
    assert result.exit_code == 1
    assert f"{tmp_path / 'scratch'}: It is not there." in result.output


def test_no_token_is_ever_shown(lake, rucio):
    until = in_an_hour()
    lake(tokens(expires_at=until))
    rucio.behaviour = "refused"
    assert "eyJ" not in status().output + status("--json").output


def test_missing_proxy_is_told_with_its_remedy(lake):
    lake(auth_type="x509_proxy")
    assert "voms-proxy-init" in status().output


GB = 10**9


def test_quotas_and_cache_are_shown(lake, rucio):
    lake()
    rucio.usage = [{"rse": "EULAKE-1", "bytes": 3 * GB, "files": 12, "bytes_limit": 10 * GB, "bytes_remaining": 7 * GB}]
    report = json.loads(status("--json").output)
    assert (report["cache_site"], report["ok"]) == ("CERN-XCACHE", True)
    (quota,) = report["quotas"]
    assert (quota["rse"], quota["used"], quota["limit"]) == ("EULAKE-1", 3 * GB, 10 * GB)
    assert "3.0 GB of 10.0 GB" in status().output


def test_quota_that_is_used_up_is_a_problem(lake, rucio):
    lake()
    rucio.usage = [{"rse": "EULAKE-1", "bytes": 5, "files": 1, "bytes_limit": 5, "bytes_remaining": 0}]
    result = status()
    assert (result.exit_code, "Quota at EULAKE-1: It is used up." in result.output) == (1, True)


def test_storage_without_data_or_quota_is_left_out(lake, rucio):
    lake()
    rucio.usage = [{"rse": "ELSEWHERE", "bytes": 0, "files": 0, "bytes_limit": None, "bytes_remaining": 0}]
    assert collect(os.environ).quotas == ()


def test_outside_a_data_lake_server_it_says_so(monkeypatch):
    monkeypatch.delenv("DLAAS_DIR", raising=False)
    result = status()
    assert result.exit_code == 2
    assert "This is not a data lake server" in result.output


def test_server_without_its_files_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("DLAAS_DIR", str(tmp_path))
    result = status()
    assert (result.exit_code, "Stop and start the server" in result.output) == (2, True)


def test_help_loads_no_rucio_client(tmp_path: Path):
    code = "import sys; from jupyterhub_dlaas.datalake.cli import main\n"
    code += (
        "try: main(['--help'])\nfinally: print(sorted({'rucio', 'rich', 'requests', 'jupyterhub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environ(tmp_path))
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into everything")
def test_folder_without_permission_is_told(tmp_path: Path):
    tmp_path.chmod(0)
    assert problem_of(str(tmp_path), limit_seconds=5) == "You have no permission to look into it."


def test_probe_comes_back_when_its_limit_is_over(tmp_path: Path):
    assert problem_of(str(tmp_path), limit_seconds=0) == "It does not answer within 0 s."

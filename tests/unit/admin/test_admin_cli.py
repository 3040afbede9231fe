"""The command `dlaas`: what it prints, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from jupyterhub_dlaas.admin.cli import main

EXAMPLES = Path(__file__).parents[3] / "config" / "catalogues"
DIGEST = "0123456789abcdef" * 4
CONFIG = """\
c.IAMAuthenticator.audiences = {"rucio": {}, "eos-eulake": {}, "ska-rucio": {}}
c.DLaaSConfig.catalogue = "%s"
c.DLaaSConfig.vos = {
    "escape": {"groups": ["escape"], "trusted": True},
    "ska": {"groups": ["ska"], "audiences": ["ska-rucio"], "hosts": ["rucio.ska.example.org"], "images": ["%s"]},
}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "jupyterhub_config.py"
    file.write_text(CONFIG % (EXAMPLES, "registry.example.org/ska/*"))
    return file


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    file = tmp_path / "narrow_config.py"
    file.write_text(CONFIG % (EXAMPLES, "registry.example.org/other/*"))
    return file


@pytest.mark.parametrize("command", [[], ["check"], ["catalogue"], ["catalogue", "check"], ["catalogue", "images"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([*command, "--help"])
    assert done.value.code == 0
    assert "usage: dlaas" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["nonsense"], ["catalogue"], ["check", "--nonsense"]])
def test_what_is_not_understood_exits_2(command: list[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 2


def test_it_starts_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jupyterhub_dlaas.admin.cli", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout[:16]) == (0, "jupyterhub-dlaas")


def test_sound_catalogues_are_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "check", str(EXAMPLES)]) == 0
    assert "no errors, no warnings" in capsys.readouterr().out


def test_a_broken_catalogue_exits_1_with_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("vo: a\nenvironments:\n- {name: e, image: 'x y'}\n- {name: f}\n")
    assert main(["catalogue", "check", str(tmp_path / "a.yaml")]) == 1
    out = capsys.readouterr().out
    assert "a.yaml:3: environments[0].image" in out
    assert "a.yaml:4: environments[1].image: image is missing" in out
    assert "2 errors, no warnings" in out


def test_two_files_of_one_vo_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("vo: a\nenvironments:\n- {name: e, image: 'x:1'}\n")
    assert main(["catalogue", "check", str(tmp_path)]) == 1
    assert "claims the VO a" in capsys.readouterr().out


def test_a_warning_exits_0_and_with_strict_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("vo: a\nenvironments:\n- {name: e, image: x.org/e}\n")
    assert main(["catalogue", "check", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["warnings"], report["findings"][0]["line"]) == (True, 1, 3)
    assert main(["catalogue", "check", str(tmp_path), "--strict", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


def test_no_such_file_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "check", "/nowhere.yaml"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "dlaas: There is no file or folder /nowhere.yaml.\n")


def test_catalogues_are_compared_with_the_hubs_grants(
    config: Path, narrow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["catalogue", "check", str(EXAMPLES), "--config", str(config)]) == 0
    assert main(["catalogue", "check", str(EXAMPLES / "ska.yaml"), "--config", str(narrow)]) == 1
    out = capsys.readouterr().out
    assert "the image registry.example.org/ska/jupyterlab:1.4 is not granted" in out
    assert main(["catalogue", "check", str(EXAMPLES / "escape.yaml"), "--config", str(narrow)]) == 0


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "DLaaS catalogue"


def test_images_become_values_of_the_helm_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(
        "vo: a.b\nenvironments:\n"
        "- {name: e_1, image: 'x.org/e:1'}\n- {name: e-1, image: 'x.org/f'}\n- {name: again, image: 'x.org/e:1'}\n"
        f"- {{name: pinned, image: 'x.org/e:1@sha256:{DIGEST}'}}\n"
    )
    assert main(["catalogue", "images", str(tmp_path)]) == 0
    assert YAML(typ="safe").load(capsys.readouterr().out) == {
        "prePuller": {
            "extraImages": {
                "a-b-e-1": {"name": "x.org/e", "tag": "1"},
                "a-b-e-1-2": {"name": "x.org/f", "tag": "latest"},
                "a-b-pinned": {"name": "x.org/e@sha256", "tag": DIGEST},
            }
        }
    }


def test_images_that_are_not_granted_are_not_pulled(narrow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "images", "--config", str(narrow), "--list"]) == 1
    captured = capsys.readouterr()
    assert captured.out.split() == [
        "registry.example.org/escape/python:2026.1",
        "registry.example.org/escape/root:6.32",
    ]
    assert "the images of VO ska are left out" in captured.err

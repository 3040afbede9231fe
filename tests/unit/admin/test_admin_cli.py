"""The command `dlaas`: what it prints, and its exit status."""

from __future__ import annotations

import json
import re
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
    "cta": {"groups": ["cta"], "trusted": True},
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


def helm(folder: Path, capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, dict[str, str]]:
    assert main(["catalogue", "images", "--helm", str(folder)]) == status
    values = YAML(typ="safe").load(capsys.readouterr().out)
    assert list(values) == ["prePuller"] and list(values["prePuller"]) == ["extraImages"]
    images: dict[str, dict[str, str]] = values["prePuller"]["extraImages"]
    return images


def catalogue(vo: str, *images: str) -> str:
    lines = [f"- {{name: e{index}, image: '{image}'}}" for index, image in enumerate(images)]
    return "\n".join([f"vo: {vo}", "environments:", *lines, ""])


def test_images_become_values_of_the_helm_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(
        catalogue("a", "x.org:5000/a/e_1:1.0", f"x.org/e:1@sha256:{DIGEST}", f"x.org/p@sha256:{DIGEST}", "python:3")
    )
    assert sorted(helm(tmp_path, capsys).values(), key=lambda image: image["name"]) == [
        {"name": "docker.io/library/python", "tag": "3"},
        {"name": "x.org/e@sha256", "tag": DIGEST},
        {"name": "x.org/p@sha256", "tag": DIGEST},
        {"name": "x.org:5000/a/e_1", "tag": "1.0"},
    ]


def test_their_keys_are_good_for_the_chart_s_containers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 200
    (tmp_path / "a.yaml").write_text(
        catalogue("a", "x.org/e__1:1", "x.org/e-1:1", f"x.org/{long}:1", f"y.org/{long}:1")
    )
    keys = helm(tmp_path, capsys)
    assert len(keys) == 4
    assert all(len(f"image-pull-{key}") <= 63 and re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", key) for key in keys)


def test_an_image_of_two_vos_is_pulled_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(catalogue("a", "x.org/e:1", "x.org/e:1", "x.org/e:2"))
    (tmp_path / "b.yaml").write_text(catalogue("b", "X.org/e:1"))
    assert [image["tag"] for image in helm(tmp_path, capsys).values()] == ["1", "2"]


def test_the_keys_stay_while_the_images_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(catalogue("a", "x.org/e:1", "x.org/f:1"))
    before = helm(tmp_path, capsys)
    (tmp_path / "a.yaml").write_text(catalogue("b", "x.org/f:1"))
    (tmp_path / "0.yaml").write_text(catalogue("c", "x.org/e:1", "x.org/f:1"))
    assert helm(tmp_path, capsys) == before


def test_no_tag_is_made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(catalogue("a", "x.org/e"))
    assert main(["catalogue", "images", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "prePuller:\n  extraImages: {}\n"
    assert captured.err == (
        "dlaas: x.org/e of a/e0 is left out, without tag and digest: "
        "name a version in the catalogue, or better a digest\n"
    )


def test_images_that_are_not_granted_are_not_pulled(narrow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "images", "--config", str(narrow), "--list"]) == 1
    captured = capsys.readouterr()
    assert [image for image in captured.out.split() if "/cta/" not in image] == [
        "registry.example.org/escape/python:2026.1",
        "registry.example.org/escape/root:6.32",
    ]
    assert "the images of VO ska are left out" in captured.err

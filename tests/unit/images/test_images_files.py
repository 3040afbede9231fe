"""What every image file, the build script and the CI files have to keep."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from jupyterhub_dlaas.agent.command import AGENT_PROGRAM, command
from jupyterhub_dlaas.bundle.jupyter import SERVER_EXTENSION

REPO = Path(__file__).resolve().parents[3]
IMAGES = REPO / "images"
NAMES = ["agent", "hub", "singleuser", "example-experiment"]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
LABELS = {"title", "description", "licenses", "source", "version"}


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, rest) for each of a Dockerfile, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", (IMAGES / name / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines if line.strip()]


def values(name: str, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(name) if word == instruction]


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_the_base_can_be_chosen_and_is_pinned_by_default(name):
    (base,) = [value.partition("=")[2] for value in values(name, "ARG") if value.startswith("BASE_IMAGE=")]
    assert re.search(r":[^/]*\d", base) and not base.endswith(":latest")
    assert instructions(name)[0] == ("ARG", f"BASE_IMAGE={base}")
    assert {value.partition(" ")[0] for value in values(name, "FROM")} <= {"${BASE_IMAGE}", "scratch"}


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_run_as_root(name):
    last = values(name, "USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last)  # by number: Kubernetes cannot tell who a name is


@pytest.mark.parametrize("name", NAMES)
def test_it_has_no_health_check(name):
    assert not values(name, "HEALTHCHECK")


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name):
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', " ".join(values(name, "LABEL"))))
    assert set(found) == LABELS
    assert found["version"] == "${VERSION}" and found["source"] == "${SOURCE}"
    assert found["licenses"] == PROJECT["license"]


@pytest.mark.parametrize("name", NAMES)
def test_its_version_is_that_of_the_project(name):
    assert f"VERSION={PROJECT['version']}" in values(name, "ARG")


def test_the_example_is_built_on_the_server_of_this_version():
    assert f"BASE_IMAGE=localhost/dlaas-singleuser:{PROJECT['version']}" in values("example-experiment", "ARG")


@pytest.mark.parametrize("name", ["hub", "singleuser", "example-experiment"])
def test_no_cache_of_pip_stays_and_its_certificates_can_be_given(name):
    installs = re.findall(r"pip (?:install|wheel) [^&]*", " ".join(values(name, "RUN")))
    assert all("--no-cache-dir" in install for install in installs)
    assert "PIP_CERT" in values(name, "ARG")


@pytest.mark.parametrize("name", ["hub", "singleuser"])
def test_a_change_of_code_installs_no_dependency_again(name):
    final = instructions(name)[[word for word, _ in instructions(name)].index("FROM", 2) :]
    installs = [number for number, (word, rest) in enumerate(final) if word == "RUN" and "install" in rest]
    (wheel,) = [number for number, (word, rest) in enumerate(final) if word == "COPY" and "--from=wheel" in rest]
    assert [number > wheel for number in installs] == [False] * (len(installs) - 1) + [True]
    assert "--no-deps" in final[installs[-1]][1]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_copies_is_in_the_build_context(name):
    allowed = {line[1:] for line in (REPO / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for value in values(name, "COPY"):
        if "--from=" in value:
            continue
        for source in [part for part in value.split()[:-1] if not part.startswith("--")]:
            assert (REPO / source).exists() and source.partition("/")[0] in allowed, source


def test_the_hub_gets_all_dependencies_of_the_project():
    asked = {}
    for line in (IMAGES / "hub" / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            asked[canonicalize_name(Requirement(line).name)] = str(Requirement(line).specifier)
    for line in PROJECT["dependencies"]:
        assert asked[canonicalize_name(Requirement(line).name)] == str(Requirement(line).specifier)


def test_the_server_gets_all_dependencies_of_datalake():
    asked = pins(IMAGES / "singleuser" / "requirements.txt")
    assert {Requirement(line).name for line in PROJECT["optional-dependencies"]["datalake"]} <= set(asked)


@pytest.mark.parametrize("name", ["hub", "singleuser"])
def test_every_package_that_is_asked_for_has_one_version(name):
    known = pins(REPO / "constraints.txt") | pins(IMAGES / "hub" / "z2jh-4.4.0.txt")
    for line in (IMAGES / name / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert known[canonicalize_name(Requirement(line).name)]


def test_the_example_pins_what_it_adds():
    assert all(pins(IMAGES / "example-experiment" / "requirements.txt").values())


def test_the_server_extension_is_on():
    config = YAML(typ="safe").load(IMAGES / "singleuser" / "dlaas.json")
    assert config == {"ServerApp": {"jpserver_extensions": {SERVER_EXTENSION: True}}}


def test_the_agents_image_starts_it_as_a_spawner_does():
    spawned = command(hub_url="u", files="f", cache="c", credential_secret="s", program=AGENT_PROGRAM)
    assert ast.literal_eval(values("agent", "ENTRYPOINT")[0]) == spawned[:1]


def test_the_build_script_is_sound_and_builds_these_four():
    script = (IMAGES / "build").read_text()
    subprocess.run(["bash", "-n", IMAGES / "build"], check=True)
    assert f"images=${{IMAGES:-{' '.join(NAMES)}}}" in script


def test_every_setting_of_the_build_script_is_explained():
    script = (IMAGES / "build").read_text()
    head = script.partition("set -euo pipefail")[0]
    used = set(re.findall(r"\$\{([A-Z][A-Z_]+):-", script))
    assert used and all(name in head for name in used)


@pytest.mark.parametrize("name", ["gitlab-ci.yml", "github-actions.yml"])
def test_a_ci_file_builds_scans_and_pushes_all(name):
    text = (IMAGES / "ci" / name).read_text()
    assert YAML(typ="safe").load(text)
    assert all(word in text for word in ("images/build", "trivy", "--exit-code 1", " push ", *NAMES))


def test_actions_are_pinned_by_commit():
    workflow = YAML(typ="safe").load(IMAGES / "ci" / "github-actions.yml")
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)


def test_images_of_ci_are_pinned():
    jobs = YAML(typ="safe").load(IMAGES / "ci" / "gitlab-ci.yml")
    images = [job["image"] for job in jobs.values() if isinstance(job, dict) and "image" in job]
    names = [image if isinstance(image, str) else image["name"] for image in images]
    assert len(names) == 3 and all(re.search(r":v?\d+\.\d+\.\d+|@sha256:[0-9a-f]{64}", name) for name in names)

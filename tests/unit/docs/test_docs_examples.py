"""What the documentation tells people to type is right."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from docs_texts import FILES, REPO, Block, blocks, commands
from ruamel.yaml import YAML
from traitlets.config import Config

import jupyterhub_dlaas
from jupyterhub_dlaas import errors
from jupyterhub_dlaas.admin import scratch_metrics
from jupyterhub_dlaas.admin.check_command import check
from jupyterhub_dlaas.bundle import environment
from jupyterhub_dlaas.catalogue.load import load
from jupyterhub_dlaas.hub import metrics, status, token_api
from jupyterhub_dlaas.hub.authenticator import IAMAuthenticator
from jupyterhub_dlaas.hub.config import DLaaSConfig
from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner
from jupyterhub_dlaas.hub.spawner_local import LocalDLaaSSpawner

SETTINGS = {cls.__name__: cls for cls in (IAMAuthenticator, DLaaSConfig, DLaaSSpawner, LocalDLaaSSpawner)}
PAGES = REPO / "docs" / "pages"
CONFIG = REPO / "config"
ANY = pytest.mark.parametrize("block", blocks("python"), ids=str)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "0" * 64)
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "unused")


@ANY
def test_python_parses(block: Block) -> None:
    ast.parse(block.text)


@ANY
def test_python_names_settings_that_exist(block: Block) -> None:
    named = re.findall(r"\bc\.(\w+)\.(\w+)", block.text)
    unknown = [(cls, name) for cls, name in named if cls in SETTINGS and name not in SETTINGS[cls].class_trait_names()]
    assert not unknown


def test_settings_named_in_sentences_exist() -> None:
    for file in FILES:
        for cls, name in re.findall(r"`(?:c\.)?(\w+)\.(\w+)", file.read_text()):
            assert cls not in SETTINGS or name in SETTINGS[cls].class_trait_names(), f"{file.name}: {cls}.{name}"


@pytest.mark.parametrize("block", [block for block in blocks("python") if "setup(c)" in block.text], ids=str)
def test_configurations_run(block: Block) -> None:
    config = Config()
    exec(block.text, {"c": config, "jupyterhub_dlaas": jupyterhub_dlaas})
    assert config.JupyterHub.authenticator_class == "dlaas"


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_parses(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_parses_and_catalogues_are_sound(block: Block) -> None:
    data = YAML(typ="safe", pure=True).load(block.text)
    if "vo" in data:
        assert load(block.text, str(block)).problems == ()


def test_the_example_configuration_can_work_with_the_example_catalogues(tmp_path: Path) -> None:
    copy = tmp_path / "jupyterhub_config.py"
    text = (CONFIG / "hub" / "jupyterhub_config.py").read_text()
    assert "/etc/dlaas/catalogue.d" in text
    copy.write_text(text.replace('"/etc/dlaas/catalogue.d"', repr(str(CONFIG / "catalogues"))))
    findings = check(str(copy), offline=True).findings
    assert [finding for finding in findings if finding.level != "ok"] == []
    assert {"VO escape", "VO ska"} <= {finding.subject for finding in findings}


# ---- commands


def test_every_dlaas_command_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO / "docs"))
    import hooks

    parsers = dict(hooks.dlaas_parsers())
    for where, line in commands("dlaas"):
        words = shlex.split(line)
        name = next(" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in parsers)
        rest = words[len(name.split()) :]
        subcommands = [known for known in parsers if known.startswith(f"{name} ")]
        assert not subcommands or not rest or rest[0].startswith("-"), f"{where}: {line}"
        unknown = [word for word in rest if word.startswith("-") and word not in parsers[name]._option_string_actions]
        assert not unknown, f"{where}: {line}"


def test_every_datalake_command_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO / "docs"))
    import hooks

    known = dict(hooks.datalake_commands())
    for where, line in commands("datalake"):
        words = shlex.split(line)
        assert " ".join(words[:2]) in known, f"{where}: {line}"
        options = {option for parameter in known[" ".join(words[:2])].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= {*options, "--help"}, f"{where}: {line}"


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    for where, line in commands("make"):
        named = [word for word in shlex.split(line)[1:] if "=" not in word]
        assert set(named) <= targets, f"{where}: {line}"


# ---- names


def test_relative_links_of_files_outside_the_site_resolve() -> None:
    for file in (REPO / "README.md", REPO / "CHANGELOG.md"):
        for link in re.findall(r"(?<!!)\[[^]]*\]\(([^)#]+)", file.read_text()):
            assert link.startswith("https://") or (file.parent / link).exists(), f"{file.name}: {link}"


def test_every_class_of_error_is_explained() -> None:
    page = (PAGES / "how-to" / "errors.md").read_text()
    for cls in errors.IAMError.__subclasses__():
        assert f"### {cls.label} {{ #{cls.label} }}" in page


def test_every_route_is_described() -> None:
    page = (PAGES / "reference" / "http.md").read_text()
    for pattern, _ in (*token_api.handlers(), *status.handlers()):
        path = re.sub(r"\(\?:/\(.*?\)\)\?", "/{name}", pattern)
        assert f"/hub{path}`" in page, pattern


def test_every_variable_of_a_server_is_described() -> None:
    page = (PAGES / "reference" / "inside-a-server.md").read_text()
    source = Path(environment.__file__).read_text()
    for name in {*environment.UNSET, *re.findall(r'variables\["(\w+)"\]|^ +"([A-Z_]+)": ', source, re.MULTILINE)}:
        found = name if isinstance(name, str) else name[0] or name[1]
        assert f"`{found}`" in page, found


def test_metrics_named_in_sentences_exist() -> None:
    import prometheus_client

    made = metrics.Metrics(prometheus_client.CollectorRegistry())
    known = {f"dlaas_{name}" for name in metrics.GAUGES} | {*scratch_metrics.NAMES, "dlaas_policy"}
    for family in made.registry.collect():
        known |= {family.name, f"{family.name}_total"}
    for file in FILES:
        named = set(re.findall(r"\bdlaas_[a-z_]+[a-z]\b", file.read_text()))
        assert named <= known, file.name


def test_sentences_in_the_tables_of_errors_are_those_of_the_code() -> None:
    page = (PAGES / "how-to" / "errors.md").read_text()
    tables = page.partition("## What IAM says")[2].partition("## What `datalake status` advises")[0]
    said = re.findall(r"^\| (?:\d{3} \| )?([^|`]{12,}?) \|", tables, re.MULTILINE)
    parts = [part.strip(" ?") for sentence in said for part in re.split(r"\.\.\.| / |; ", sentence)]
    texts = sentences(REPO / "jupyterhub_dlaas")
    unknown = [part for part in parts if len(part) > 11 and not any(part in text for text in texts)]
    assert unknown == []


def sentences(package: Path) -> set[str]:
    """Every text in the package's code and templates, what is filled in left out as `...`."""
    found = {" ".join(page.read_text().split()) for page in package.rglob("*.html")}
    for file in package.rglob("*.py"):
        if "demo" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(re.sub(r"\{\w+(![rs])?\}", "...", node.value))
    return found

"""`dlaas check`, with an issuer that is a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt.algorithms
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from jupyterhub_dlaas.admin.check_command import check
from jupyterhub_dlaas.admin.cli import main

EXAMPLES = Path(__file__).parents[3] / "config" / "catalogues"
CONFIG = """\
c = get_config()
c.CryptKeeper.keys = ["{key}"]
import jupyterhub_dlaas
jupyterhub_dlaas.setup(c)
c.JupyterHub.authenticator_class = "dlaas"
c.JupyterHub.spawner_class = "dlaas-local"
c.IAMAuthenticator.issuer_url = "{issuer}"
c.IAMAuthenticator.client_id = "hub"
c.IAMAuthenticator.client_secret = "very-secret"
c.IAMAuthenticator.audiences = {{"rucio": {{"required_for": ["escape"]}}, "eos-eulake": {{}}, "ska-rucio": {{}}}}
c.IAMAuthenticator.allowed_groups = {{"escape", "ska"}}
c.DLaaSConfig.catalogue = "{catalogue}"
c.DLaaSConfig.vos = {{"escape": {{"groups": ["escape"], "trusted": True}},
    "ska": {{"groups": ["ska"], "trusted": True}}, "cta": {{"groups": ["cta"], "trusted": True}}}}
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    key = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document: dict[str, Any] = {"keys": [{**key, "kid": "1", "alg": "ES256", "use": "sig"}]}
            if self.path == "/.well-known/openid-configuration":
                names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
                document = {"issuer": url, **{name: f"{url}/{name}" for name in names}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield url
    server.shutdown()
    server.server_close()


@pytest.fixture
def config(issuer: str, tmp_path: Path) -> Path:
    file = tmp_path / "jupyterhub_config.py"
    file.write_text(CONFIG.format(key="ab" * 32, issuer=issuer, catalogue=EXAMPLES))
    return file


def errors(file: Path, *, offline: bool = True) -> list[tuple[str, str]]:
    found = check(str(file), offline=offline).findings
    return [(finding.subject, finding.message) for finding in found if finding.level == "error"]


def change(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def test_a_hub_that_can_work_passes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "no errors, 1 warning" in out
    assert "answers; its keys can be read" in out
    assert "is not https" in out
    assert "very-secret" not in out


def test_an_issuer_that_is_down_is_an_error(config: Path) -> None:
    change(config, "issuer_url =", "issuer_url = 'http://127.0.0.1:1' or")
    ((subject, message),) = errors(config, offline=False)
    assert subject == "c.IAMAuthenticator.issuer_url"
    assert "The hub would start all the same" in message


def test_another_issuers_name_is_an_error(config: Path, issuer: str) -> None:
    change(config, "127.0.0.1", "localhost")
    ((_, message),) = errors(config, offline=False)
    assert f"calls itself '{issuer}'" in message


@pytest.mark.parametrize(
    ("old", "new", "subject", "said"),
    [
        ("c = get_config()", "1 / 0", "jupyterhub_config.py", "ZeroDivisionError"),
        ("c = get_config()", "c = (", "jupyterhub_config.py", "SyntaxError"),
        ('c.CryptKeeper.keys = ["' + "ab" * 32 + '"]', "", "jupyterhub_config.py", "cannot be encrypted"),
        ("ab" * 32, "short", "c.CryptKeeper.keys", "32 bytes in hex"),
        ("issuer_url", "isuer_url", "c.IAMAuthenticator.isuer_url", "Did you mean issuer_url?"),
        (
            '"groups": ["ska"]',
            '"group": ["ska"]',
            "configuration",
            "vos['ska']['group'] cannot be used: there is no such",
        ),
        ('.catalogue = "', '.catalogue = "/nowhere', "configuration", "names nothing"),
        ('"dlaas"', '"dummy"', "c.JupyterHub.authenticator_class", "knows no data lake"),
        ('"dlaas-local"', '"simple"', "c.JupyterHub.spawner_class", "brings no data lake"),
        ('"dlaas-local"', '"nothing-such"', "jupyterhub_config.py", "spawner_class"),
        ('"ska-rucio": {}', "", "VO ska", "the hub knows no audience ska-rucio"),
    ],
)
def test_what_cannot_work_is_named(config: Path, old: str, new: str, subject: str, said: str) -> None:
    found = errors(change(config, old, new))
    assert any(where.endswith(subject) and said in message for where, message in found), found


def test_a_broken_catalogue_is_an_error_with_its_line(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "catalogue.d"
    folder.mkdir()
    (folder / "ska.yaml").write_text("vo: ska\nenvironments: []\n")
    for name in ("escape.yaml", "cta.yaml"):
        (folder / name).write_text((EXAMPLES / name).read_text())
    change(config, str(EXAMPLES), str(folder))
    assert main(["check", "--config", str(config), "--offline", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (error,) = [finding for finding in report["findings"] if finding["level"] == "error"]
    assert (error["subject"], error["file"], error["line"]) == ("VO ska", str(folder / "ska.yaml"), 2)


def test_a_vo_without_members_is_warned_of(config: Path) -> None:
    findings = check(str(change(config, '"groups": ["ska"], ', "")), offline=True).findings
    warned = [finding.message for finding in findings if finding.level == "warning"]
    assert warned == ["is empty, so the VO has no members"]


def test_no_file_is_said_so(tmp_path: Path) -> None:
    ((_, message),) = errors(tmp_path / "nowhere.py")
    assert "There is no file" in message


# ---- a hub whose servers are pods

POD_SPAWNER = "jupyterhub_dlaas.hub.spawner_kube.DLaaSSpawner"


def test_a_hub_for_pods_needs_the_agents_image(config: Path) -> None:
    change(config, '"dlaas-local"', f'"{POD_SPAWNER}"')
    ((subject, message),) = errors(config)
    assert subject == "c.JupyterHub.spawner_class"
    assert "c.DLaaSSpawner.agent_image is not set" in message


def test_a_cluster_that_cannot_be_asked_from_here_is_no_error(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    change(config, '"dlaas-local"', f'"{POD_SPAWNER}"\nc.DLaaSSpawner.agent_image = "registry.example.org/agent:1"')
    found = [finding for finding in check(str(config)).findings if finding.subject == "Kubernetes"]
    assert [finding.level for finding in found] == ["warning"]
    assert not [finding for finding in check(str(config), offline=True).findings if finding.subject == "Kubernetes"]

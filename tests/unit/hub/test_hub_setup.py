"""`setup(c)` adds and never replaces."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyterhub import version_info
from jupyterhub.app import JupyterHub
from traitlets.config import Config

import jupyterhub_dlaas
from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.hub.agents import AGENT_SCOPE

SCOPE = f"{AGENT_SCOPE}!user"


@pytest.fixture
def c(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "00" * 32)
    return Config()


def user_scopes(c: Config) -> set[str]:
    app = JupyterHub(config=c)
    roles = [role for role in app.load_roles if role["name"] == "user"]
    scopes = {scope for role in roles for scope in role["scopes"]}
    return scopes | (set(app.extra_user_scopes) if version_info >= (6,) else set())


def test_no_key_anywhere_is_refused_with_setting_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_CRYPT_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"c\.CryptKeeper\.keys.*JUPYTERHUB_CRYPT_KEY") as caught:
        jupyterhub_dlaas.setup(Config())
    assert "openssl rand -hex 32" in caught.value.sentence()


def test_the_key_that_zero_to_jupyterhub_sets_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_CRYPT_KEY", raising=False)
    c = Config()
    c.CryptKeeper.keys = [b"k" * 32]
    jupyterhub_dlaas.setup(c)
    assert c.Authenticator.enable_auth_state is True


def test_roles_and_templates_that_are_there_stay(c: Config) -> None:
    c.JupyterHub.load_roles = [{"name": "jupyterhub-idle-culler", "scopes": ["list:users"]}]
    c.JupyterHub.template_paths = ["/etc/templates"]
    jupyterhub_dlaas.setup(c)
    assert c.JupyterHub.load_roles[0]["name"] == "jupyterhub-idle-culler"
    assert c.JupyterHub.template_paths[0] == "/etc/templates"
    assert len(c.JupyterHub.template_paths) == 2


def test_users_hold_the_scope_of_their_servers_agents(c: Config) -> None:
    jupyterhub_dlaas.setup(c)
    assert SCOPE in user_scopes(c)


def test_a_user_role_of_the_administrator_keeps_its_scopes(c: Config) -> None:
    c.JupyterHub.load_roles = [{"name": "user", "scopes": ["self", "access:services"]}]
    jupyterhub_dlaas.setup(c)
    assert user_scopes(c) == {"self", "access:services", SCOPE}


def test_what_was_appended_before_is_kept(c: Config) -> None:
    c.JupyterHub.template_paths.append("/etc/templates")
    c.JupyterHub.load_roles.append({"name": "mine", "scopes": ["self"]})
    jupyterhub_dlaas.setup(c)
    app = JupyterHub(config=c)
    assert "/etc/templates" in app.template_paths
    assert {role["name"] for role in app.load_roles} >= {"mine"}
    assert SCOPE in user_scopes(c)


def test_twice_is_as_once(c: Config) -> None:
    jupyterhub_dlaas.setup(c)
    jupyterhub_dlaas.setup(c)
    assert len(c.JupyterHub.template_paths) == 1
    assert SCOPE in user_scopes(c)


def test_an_auth_refresh_age_of_the_administrator_stays(c: Config) -> None:
    c.OAuthenticator.auth_refresh_age = 1234
    jupyterhub_dlaas.setup(c)
    assert "auth_refresh_age" not in c.Authenticator


def test_auth_state_switched_off_is_refused(c: Config) -> None:
    c.Authenticator.enable_auth_state = False
    with pytest.raises(ConfigError, match="enable_auth_state"):
        jupyterhub_dlaas.setup(c)


def test_a_database_in_memory_is_warned_of(c: Config, caplog: pytest.LogCaptureFixture) -> None:
    c.JupyterHub.db_url = "sqlite://"
    jupyterhub_dlaas.setup(c)
    assert "in memory" in caplog.text


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("import jupyterhub_dlaas; jupyterhub_dlaas.setup(c)", "JUPYTERHUB_CRYPT_KEY"),
        (
            "import jupyterhub_dlaas; c.CryptKeeper.keys = [b'k' * 32]; jupyterhub_dlaas.setup(c)\n"
            "c.JupyterHub.authenticator_class = 'dlaas'",
            "issuer_url",
        ),
    ],
)
def test_a_hub_that_can_never_work_ends_with_one_sentence(tmp_path: Path, lines: str, named: str) -> None:
    (tmp_path / "jupyterhub_config.py").write_text(lines)
    environment = {name: value for name, value in os.environ.items() if name != "JUPYTERHUB_CRYPT_KEY"}
    ended = subprocess.run(
        [sys.executable, "-m", "jupyterhub"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert named in ended.stderr.strip().splitlines()[-1]
    assert "Traceback" not in ended.stderr

"""Settings of the local spawner with which no server could ever start are refused when the hub starts."""

import os
from typing import Any

import pytest
from jupyterhub.app import JupyterHub
from traitlets.config import Config

from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.hub.spawner_local import LocalDLaaSSpawner

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def refusal(*, internal_ssl: bool = False, **settings: Any) -> str:
    """What the hub says at its start, "" when it goes on."""
    config = Config()
    config.LocalDLaaSSpawner.update(settings)
    try:
        LocalDLaaSSpawner.check_settings(JupyterHub(config=config, internal_ssl=internal_ssl))
    except ConfigError as error:
        return error.sentence()
    return ""


def refusal_without_root(**settings: Any) -> str:
    """The same in a process that has become an ordinary user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os.write(writer, refusal(**settings).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return said


def test_one_uid_for_all_is_allowed_where_it_is_said() -> None:
    assert refusal(allow_shared_uid=True) == ""


def test_internal_ssl_is_refused() -> None:
    assert "internal_ssl" in refusal(internal_ssl=True, allow_shared_uid=True)


@as_root
def test_one_uid_for_all_has_to_be_allowed() -> None:
    assert "allow_shared_uid" in refusal_without_root()


@as_root
@pytest.mark.parametrize("group", ["", "no-such-group"])
def test_root_needs_a_group_that_exists(group: str) -> None:
    said = refusal(system_group=group)
    assert "system_group" in said
    assert repr(group) in said


@as_root
def test_root_with_a_group_goes_on() -> None:
    assert refusal(system_group="users") == ""

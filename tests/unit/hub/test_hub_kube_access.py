"""What the hub asks a cluster before the first server, and the settings with which no server could start."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.app import JupyterHub
from kube_fakes import Cluster, cluster
from traitlets.config import Config

from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.hub.kube_access import lacking
from jupyterhub_dlaas.hub.kube_api import Unreachable
from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner

WORKS = {"namespace": "jhub", "agent_image": "registry.example.org/agent:1"}


def config(**settings: Any) -> Config:
    made = Config()
    made.KubeSpawner.update({**WORKS, **settings})
    return made


def refusal(*, internal_ssl: bool = False, **settings: Any) -> str:
    """What the hub says at its start, "" when it goes on."""
    made = Config()
    made.KubeSpawner.profile_list = []  # as Zero-to-JupyterHub leaves it
    made.DLaaSSpawner.update({**WORKS, **settings})
    try:
        DLaaSSpawner.check_settings(JupyterHub(config=made, internal_ssl=internal_ssl))
    except ConfigError as error:
        return error.sentence()
    return ""


async def lacking_with(made: Config) -> list[str]:
    return await lacking(DLaaSSpawner.settings(made))


@pytest.fixture
async def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, monkeypatch) as made:
        yield made


def test_settings_that_work_are_accepted_without_a_cluster() -> None:
    assert refusal() == ""


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"internal_ssl": True}, "internal_ssl"),
        ({"agent_image": ""}, "agent_image"),
        ({"profile_list": [{"display_name": "x"}]}, "profile_list"),
        ({"profile_list": lambda spawner: []}, "profile_list"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], named: str) -> None:
    assert named in refusal(**settings)


async def test_a_hub_with_all_rights_lacks_nothing(kube: Cluster) -> None:
    assert await lacking_with(config()) == []
    asked = {(body["verb"], body["resource"]) for _, _, body in kube.bodies}
    assert asked == {
        *((verb, "pods") for verb in ("get", "list", "watch", "create", "delete")),
        ("create", "secrets"),
        ("list", "events"),
        ("watch", "events"),
    }
    assert {namespace for _, namespace, _ in kube.bodies} == {"jhub"}


async def test_a_missing_rule_is_named_with_its_remedy(kube: Cluster) -> None:
    kube.denied |= {("create", "secrets"), ("list", "pods"), ("watch", "pods")}
    assert await lacking_with(config()) == [
        "The hub may not list or watch pods in the namespace jhub. Bind its service account to a Role in jhub with the "
        'rule - {apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}.',
        "The hub may not create secrets in the namespace jhub. Bind its service account to a Role in jhub with the "
        'rule - {apiGroups: [""], resources: ["secrets"], verbs: ["create"]}.',
    ]


async def test_only_what_is_used_is_asked_for(kube: Cluster) -> None:
    settings = {"events_enabled": False, "storage_pvc_ensure": True, "services_enabled": True}
    await lacking_with(config(**settings))
    resources = {body["resource"] for _, _, body in kube.bodies}
    assert resources == {"pods", "secrets", "persistentvolumeclaims", "services"}


async def test_namespaces_per_user_need_rights_in_all(kube: Cluster) -> None:
    kube.denied.add(("create", "secrets"))
    (problem,) = await lacking_with(config(enable_user_namespaces=True))
    assert "in every namespace" in problem
    assert "a ClusterRole" in problem


@pytest.mark.parametrize("version", [("1", "28"), ("1", "28+"), ("1", "9")])
async def test_a_cluster_without_sidecars_is_too_old(kube: Cluster, version: tuple[str, str]) -> None:
    kube.version = dict(zip(("major", "minor"), version, strict=True))
    (problem,) = await lacking_with(config())
    assert "1.29 or later" in problem


@pytest.mark.parametrize("version", [("1", "29+"), ("2", "0"), ("", "")])
async def test_a_later_or_unknown_one_is_not(kube: Cluster, version: tuple[str, str]) -> None:
    kube.version = dict(zip(("major", "minor"), version, strict=True))
    assert await lacking_with(config()) == []


async def test_a_cluster_that_is_away_is_no_wrong_setting(kube: Cluster) -> None:
    kube.away = True
    with pytest.raises(Unreachable):
        await lacking_with(config())


async def test_what_is_missing_is_logged_when_the_hub_starts(kube: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    kube.denied.add(("create", "secrets"))
    with caplog.at_level(logging.ERROR):
        await DLaaSSpawner.in_background(SimpleNamespace(config=config(), log=logging.getLogger("hub")))
    assert [record.getMessage().split(". ")[0] for record in caplog.records] == [
        "No server can start: The hub may not create secrets in the namespace jhub"
    ]

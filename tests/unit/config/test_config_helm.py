"""The values files for Zero-to-JupyterHub keep to what that chart does with them.

With DLAAS_Z2JH_CHART naming a folder with the chart, helm itself reads them, too.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import kubespawner
import pytest
from config_texts import HELM, KUBERNETES, VALUES, documents, keys, values
from jupyterhub.app import JupyterHub

from jupyterhub_dlaas.admin.check_command import check
from jupyterhub_dlaas.hub.authenticator import IAMAuthenticator
from jupyterhub_dlaas.hub.config import DLaaSConfig
from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner


def _words(text: str) -> set[str]:
    return set(text.split())


CLASSES: dict[str, Any] = {
    "JupyterHub": JupyterHub,
    "IAMAuthenticator": IAMAuthenticator,
    "DLaaSConfig": DLaaSConfig,
    "DLaaSSpawner": DLaaSSpawner,
    "KubeSpawner": kubespawner.KubeSpawner,
}
# The chart's own values: its schema is closed, so another key fails the installation.
TOP = _words(
    "hub proxy singleuser scheduling prePuller ingress httpRoute cull debug rbac custom global fullnameOverride "
    "nameOverride enabled imagePullSecret imagePullSecrets"
)
HUB = _words(
    "revisionHistoryLimit config service baseUrl cookieSecret initContainers nodeSelector tolerations "
    "concurrentSpawnLimit consecutiveFailureLimit activeServerLimit deploymentStrategy db labels annotations command "
    "args extraConfig extraFiles extraEnv extraContainers extraVolumes extraVolumeMounts image resources "
    "podSecurityContext containerSecurityContext lifecycle loadRoles services pdb networkPolicy allowNamedServers "
    "namedServerLimitPerUser authenticatePrometheus redirectToServer shutdownOnLogout templatePaths templateVars "
    "livenessProbe readinessProbe existingSecret serviceAccount extraPodSpec"
)
SINGLEUSER = _words(
    "podNameTemplate extraTolerations nodeSelector extraNodeAffinity extraPodAffinity extraPodAntiAffinity "
    "networkTools cloudMetadata networkPolicy events extraAnnotations extraLabels extraFiles extraEnv lifecycleHooks "
    "initContainers extraContainers allowPrivilegeEscalation uid fsGid serviceAccountName storage image startTimeout "
    "cpu memory extraResource cmd defaultUrl extraPodConfig profileList"
)
# What the chart fills with lists and dicts of its own. hub.config replaces a trait whole, and a value of a subclass
# beats the chart's: the home, the metadata block, the culler's role or the network labels would be gone.
THE_CHARTS = {
    "JupyterHub": {"load_roles", "services", "tornado_settings", "base_url", "db_url", "cookie_secret"},
    "KubeSpawner": _words(
        "profile_list init_containers extra_containers environment volumes volume_mounts extra_labels "
        "extra_annotations common_labels node_selector tolerations lifecycle_hooks extra_pod_config"
    ),
}
THE_CHARTS["DLaaSSpawner"] = THE_CHARTS["KubeSpawner"]
# The combinations that the files' own comments and the documentation name.
SETS = [
    ("values.yaml",),
    ("values-minimal.yaml",),
    ("values.yaml", "values-restricted.yaml"),
    ("values-minimal.yaml", "values-restricted.yaml"),
]
EACH = pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
EACH_SET = pytest.mark.parametrize("names", SETS, ids=" ".join)


@EACH
def test_only_keys_that_the_chart_knows(path: Path) -> None:
    tree = documents(path)[0]
    assert tree.keys() <= TOP
    assert tree.get("hub", {}).keys() <= HUB
    assert tree.get("singleuser", {}).keys() <= SINGLEUSER


@EACH
def test_every_section_of_hub_config_is_a_class_with_those_settings(path: Path) -> None:
    for section, settings in documents(path)[0].get("hub", {}).get("config", {}).items():
        assert section[0].isupper(), section
        assert settings.keys() <= set(CLASSES[section].class_trait_names(config=True)), section


@EACH
def test_lists_of_the_chart_are_not_replaced(path: Path) -> None:
    tree = documents(path)[0]
    for section, settings in tree.get("hub", {}).get("config", {}).items():
        assert not settings.keys() & THE_CHARTS.get(section, set()), section
    # singleuser.extraPodConfig replaces the pod's whole lists, ours among them.
    assert "extraPodConfig" not in tree.get("singleuser", {})


@EACH
def test_extra_config_is_the_call_of_setup_alone(path: Path) -> None:
    for text in documents(path)[0].get("hub", {}).get("extraConfig", {}).values():
        assert text.split("\n") == ["import jupyterhub_dlaas", "jupyterhub_dlaas.setup(c)", ""]


@EACH
def test_no_secret_is_in_a_values_file(path: Path) -> None:
    secrets = ("client_secret", "keys", "cookieSecret", "cookie_secret", "secretToken", "auth_token", "password")
    found = [name for name, _ in keys(documents(path)[0]) if name.rpartition(".")[2] in secrets]
    assert found == []


@pytest.mark.parametrize("name", ["values.yaml", "values-minimal.yaml"])
def test_the_client_secret_is_a_reference(name: str) -> None:
    entry = values(name)["hub"]["extraEnv"]["OAUTH_CLIENT_SECRET"]
    assert entry == {"valueFrom": {"secretKeyRef": {"name": "dlaas-iam-client", "key": "client-secret"}}}


@EACH
def test_extra_variables_are_texts_or_maps(path: Path) -> None:
    # A number fails the chart's rendering.
    for value in documents(path)[0].get("hub", {}).get("extraEnv", {}).values():
        assert isinstance(value, str | dict)


@pytest.mark.parametrize("name", ["values.yaml", "values-minimal.yaml"])
def test_the_catalogue_is_a_folder_that_is_read_again(name: str) -> None:
    hub = values(name)["hub"]
    assert "extraFiles" not in hub
    assert not [key for key, _ in keys(hub) if key.endswith("subPath")]
    [volume], [mount] = hub["extraVolumes"], hub["extraVolumeMounts"]
    made = documents(KUBERNETES / "catalogue" / "kustomization.yaml")[0]
    assert volume["configMap"]["name"] == made["configMapGenerator"][0]["name"]
    assert made["generatorOptions"]["disableNameSuffixHash"] is True
    assert mount["name"] == volume["name"]
    assert mount["mountPath"] == hub["config"]["DLaaSConfig"]["catalogue"]


def test_sessions_survive_a_restart_of_the_hub() -> None:
    assert values("values.yaml")["hub"]["db"]["type"] != "sqlite-memory"


def test_metrics_are_not_public() -> None:
    hub = values("values.yaml")["hub"]
    assert hub.get("authenticatePrometheus", True)
    assert hub["loadRoles"]["prometheus"] == {"scopes": ["read:metrics"], "services": ["prometheus"]}


def test_servers_reach_private_addresses_by_rule_and_no_further() -> None:
    policy = values("values.yaml")["singleuser"]["networkPolicy"]
    assert policy.get("enabled", True)
    assert not policy.get("egressAllowRules", {}).get("privateIPs", False)
    for rule in policy["egress"]:
        assert rule["to"] and rule["ports"]
        # No rule may open the address from which cloud machines get their credentials.
        assert not [to for to in rule["to"] if to["ipBlock"]["cidr"] == "0.0.0.0/0"]


@EACH_SET
def test_servers_have_a_uid(names: tuple[str, ...]) -> None:
    assert values(*names).get("singleuser", {}).get("uid", 1000)


def test_restricted_values_have_no_privileged_container() -> None:
    assert values("values.yaml", "values-restricted.yaml")["singleuser"]["cloudMetadata"]["blockWithIptables"] is False


@EACH_SET
def test_the_hub_can_work_with_them(names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "unused")
    tree = values(*names)
    tree["hub"]["config"]["DLaaSConfig"]["catalogue"] = str(KUBERNETES / "catalogue" / "escape.yaml")
    config = tmp_path / "jupyterhub_config.py"
    # As the chart does it: its own settings, then hub.config, then hub.extraConfig.
    config.write_text(
        f"c.CryptKeeper.keys = [{'0' * 64!r}]\n"
        "c.KubeSpawner.uid, c.KubeSpawner.fs_gid = 1000, 100\n"
        "c.KubeSpawner.namespace = 'jupyterhub'\n"
        f"for section, settings in {tree['hub']['config']!r}.items():\n"
        "    c[section].update(settings)\n" + "".join(tree["hub"]["extraConfig"].values())
    )
    findings = check(str(config), offline=True).findings
    assert [finding for finding in findings if finding.level != "ok"] == []
    assert "VO escape" in {finding.subject for finding in findings}


# ---- the chart itself, where there is one

CHART = os.environ.get("DLAAS_Z2JH_CHART", "")


def _helm(*arguments: str) -> str:
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


if CHART:

    @EACH_SET
    def test_helm_accepts_them(names: tuple[str, ...]) -> None:
        given = [word for name in names for word in ("--values", str(HELM / name))]
        _helm("lint", "--strict", CHART, *given)
        rendered = _helm("template", "jupyterhub", CHART, "--namespace", "jupyterhub", "--kube-version", "1.29", *given)
        assert "name: dlaas-catalogue" in rendered
        assert "registry.example.org/dlaas-hub:0.1.0" in rendered

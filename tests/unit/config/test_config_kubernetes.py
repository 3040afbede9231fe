"""What is applied to a cluster beside the chart keeps to what EOS, FUSE and Kubernetes demand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from config_texts import KUBERNETES, documents, objects, values
from traitlets.config import Config

from jupyterhub_dlaas.catalogue.folder import Catalogues
from jupyterhub_dlaas.catalogue.grants import parse_grants
from jupyterhub_dlaas.catalogue.load import load
from jupyterhub_dlaas.catalogue.models import Catalogue
from jupyterhub_dlaas.hub import kube_access
from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner

CATALOGUE = KUBERNETES / "catalogue" / "escape.yaml"
FOLDERS = sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))
MOUNTS = ("eosxd", "xrootdfs")
EACH_MOUNT = pytest.mark.parametrize("name", MOUNTS)


def pod(name: str) -> dict[str, Any]:
    [daemonset] = objects(name, "DaemonSet")
    return dict(daemonset["spec"]["template"]["spec"])


def container(name: str) -> dict[str, Any]:
    [only] = pod(name)["containers"]
    return dict(only)


def catalogue() -> Catalogue:
    loaded = load(CATALOGUE.read_text(), CATALOGUE.name)
    assert loaded.problems == ()
    assert loaded.catalogue is not None
    return loaded.catalogue


# ---- kustomize


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_kustomizations_name_files_of_their_own_folder(folder: Path) -> None:
    # kubectl's kustomize reads no file outside of it.
    made = documents(folder / "kustomization.yaml")[0]
    assert made["kind"] == "Kustomization"
    named = [*made.get("resources", [])]
    for generator in made.get("configMapGenerator", []):
        named += generator.get("files", [])
    assert named or made.get("configMapGenerator")
    assert [name for name in named if not (folder / name).is_file() or "/" in name] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_file_is_part_of_its_kustomization(folder: Path) -> None:
    text = (folder / "kustomization.yaml").read_text()
    assert [path.name for path in folder.iterdir() if path.name not in text and path.name != "kustomization.yaml"] == []


# ---- the catalogue


def test_the_catalogue_keeps_to_what_its_vo_was_granted() -> None:
    config = values("values.yaml")["hub"]["config"]
    grants = parse_grants(config["DLaaSConfig"]["vos"])
    found = Catalogues(str(CATALOGUE), grants, config["IAMAuthenticator"]["audiences"])
    assert list(found.open) == ["escape"]
    assert not found.warnings.get("escape")


@EACH_MOUNT
def test_the_catalogue_mounts_the_parent_of_what_the_node_mounts(name: str) -> None:
    [host] = [volume["hostPath"]["path"] for volume in pod(name)["volumes"] if "hostPath" in volume]
    [storage] = [storage for storage in catalogue().storages.values() if getattr(storage, "host_path", None) == host]
    variables = {entry["name"]: entry["value"] for entry in container(name)["env"]}
    mounted_on_node = variables["MOUNT"].replace(mount_of_host(name)["mountPath"], host, 1)
    assert Path(mounted_on_node).parent == Path(host)
    assert storage.path == mounted_on_node.replace(host, storage.mount_path, 1)


# ---- mounts on the nodes


def mount_of_host(name: str) -> dict[str, Any]:
    [volume] = [volume["name"] for volume in pod(name)["volumes"] if "hostPath" in volume]
    [mount] = [mount for mount in container(name)["volumeMounts"] if mount["name"] == volume]
    return dict(mount)


@EACH_MOUNT
def test_mounts_reach_the_node(name: str) -> None:
    assert mount_of_host(name)["mountPropagation"] == "Bidirectional"
    assert container(name)["securityContext"]["privileged"] is True
    [host] = [volume["hostPath"] for volume in pod(name)["volumes"] if "hostPath" in volume]
    assert host["type"] == "DirectoryOrCreate"


@EACH_MOUNT
def test_mounts_run_wherever_servers_run(name: str) -> None:
    assert {"operator": "Exists"} in pod(name)["tolerations"]


@EACH_MOUNT
def test_mounts_have_no_account_in_the_cluster(name: str) -> None:
    assert pod(name)["automountServiceAccountToken"] is False


@EACH_MOUNT
def test_images_have_a_tag(name: str) -> None:
    [image] = documents(KUBERNETES / name / "kustomization.yaml")[0]["images"]
    assert image["name"] == container(name)["image"]
    assert image["newTag"] != "latest"


def test_eosxd_sees_the_processes_and_the_network_of_the_node() -> None:
    # It reads /proc/<pid> of the process that asks, and EOS compares the client's address.
    assert pod("eosxd")["hostPID"] is True
    assert pod("eosxd")["hostNetwork"] is True
    assert pod("eosxd")["dnsPolicy"] == "ClusterFirstWithHostNet"


def test_eosxd_gets_the_keytab_from_a_secret_that_only_root_reads() -> None:
    [secret] = [volume["secret"] for volume in pod("eosxd")["volumes"] if "secret" in volume]
    assert secret == {"secretName": "eos-sss-keytab", "defaultMode": 0o400}
    [mount] = [mount for mount in container("eosxd")["volumeMounts"] if mount["name"] == "keytab"]
    assert settings_of_eosxd()["auth"]["ssskeytab"] == f"{mount['mountPath']}/eos.keytab"


def test_eosxd_takes_tokens_and_heeds_containers() -> None:
    auth = settings_of_eosxd()["auth"]
    # OAuth2 rides on sss: without sss and its keytab eosxd switches it off without a word.
    assert (auth["oauth2"], auth["sss"], auth["shared-mount"]) == (1, 1, 1)
    assert auth["ignore-containerization"] == 0
    # Kerberos and proxies would win over the token.
    assert (auth["krb5"], auth["gsi"]) == (0, 0)


def test_eosxd_mounts_where_its_container_looks() -> None:
    variables = {entry["name"]: entry["value"] for entry in container("eosxd")["env"]}
    assert settings_of_eosxd()["localmountdir"] == variables["MOUNT"]
    assert settings_of_eosxd()["name"] in container("eosxd")["command"][-1]


def test_a_new_eosxd_waits_for_the_administrator() -> None:
    assert objects("eosxd", "DaemonSet")[0]["spec"]["updateStrategy"] == {"type": "OnDelete"}


@pytest.mark.parametrize("script", ["mount.sh", "alive.sh"])
def test_scripts_are_sound(script: str) -> None:
    done = subprocess.run(["sh", "-n", str(KUBERNETES / "xrootdfs" / script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def settings_of_eosxd() -> dict[str, Any]:
    return dict(json.loads((KUBERNETES / "eosxd" / "fuse.eulake_1.conf").read_text()))


# ---- the hub's Role

ALL = {"get", "watch", "list", "create", "delete"}
THE_CHARTS = {
    "pods": ALL,
    "persistentvolumeclaims": ALL,
    "secrets": ALL,
    "services": ALL,
    "events": {"get", "watch", "list"},
}


def rules() -> dict[str, set[str]]:
    [role] = objects("rbac", "Role")
    return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}


def test_the_role_is_what_the_hub_asks_for() -> None:
    settings = DLaaSSpawner.settings(Config({"KubeSpawner": {"storage_pvc_ensure": True}}))
    # To delete homes is no condition of a start, so the hub does not ask for it.
    asked = {"persistentvolumeclaims": {"delete"}}
    for resource, verbs in kube_access.needs(settings):
        asked.setdefault(resource, set()).update(verbs)
    assert rules() == asked


def test_the_hub_needs_no_more_than_the_charts_role() -> None:
    for resource, verbs in rules().items():
        assert verbs <= THE_CHARTS[resource], resource


def test_the_hub_changes_nothing_in_place() -> None:
    assert not {"patch", "update", "deletecollection", "*"} & set().union(*rules().values())


def test_the_role_is_bound_to_the_hub() -> None:
    [role], [binding], [account] = (objects("rbac", kind) for kind in ("Role", "RoleBinding", "ServiceAccount"))
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [account["metadata"]["name"]]


# ---- namespaces


def test_mounts_have_a_namespace_of_their_own() -> None:
    levels = {
        namespace["metadata"]["name"]: namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for namespace in objects("namespaces", "Namespace")
    }
    assert levels == {"jupyterhub": "privileged", "data-lake": "privileged"}
    for name in MOUNTS:
        assert documents(KUBERNETES / name / "kustomization.yaml")[0]["namespace"] == "data-lake"
    for name in ("catalogue", "rbac", "check"):
        assert documents(KUBERNETES / name / "kustomization.yaml")[0]["namespace"] == "jupyterhub"


# ---- the check before an upgrade


def test_the_check_has_what_the_hub_has() -> None:
    [job] = objects("check", "Job")
    [checked] = job["spec"]["template"]["spec"]["containers"]
    hub = values("values.yaml")["hub"]
    variables = {entry["name"]: entry for entry in checked["env"]}
    for name, entry in hub["extraEnv"].items():
        assert variables[name]["valueFrom"] == entry["valueFrom"]
    mounted = {mount["mountPath"] for mount in checked["volumeMounts"]}
    assert {mount["mountPath"] for mount in hub["extraVolumeMounts"]} <= mounted
    [image] = documents(KUBERNETES / "check" / "kustomization.yaml")[0]["images"]
    assert (image["name"], image["newTag"]) == (hub["image"]["name"], hub["image"]["tag"])

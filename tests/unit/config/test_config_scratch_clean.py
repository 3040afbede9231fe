"""The CronJob that cleans a scratch area says to `dlaas` what the catalogue says of that area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config_texts import KUBERNETES, documents, objects

from jupyterhub_dlaas.admin.cli import parser
from jupyterhub_dlaas.catalogue.load import load
from jupyterhub_dlaas.catalogue.models import ScratchStorage

FOLDER = "scratch-clean"


def pod() -> dict[str, Any]:
    [cronjob] = objects(FOLDER, "CronJob")
    return dict(cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"])


def container() -> dict[str, Any]:
    [only] = pod()["containers"]
    return dict(only)


def options() -> Any:
    program, *arguments = container()["command"]
    assert program == "dlaas"
    return parser().parse_args(arguments)


def volume_at(path: str) -> dict[str, Any]:
    [name] = [mount["name"] for mount in container()["volumeMounts"] if mount["mountPath"] == path]
    [volume] = [volume for volume in pod()["volumes"] if volume["name"] == name]
    return dict(volume)


def scratch() -> ScratchStorage:
    text = Path("config/catalogues/escape.yaml")
    loaded = load((KUBERNETES.parents[1] / text).read_text(), text.name)
    assert loaded.catalogue is not None
    [found] = [storage for storage in loaded.catalogue.storages.values() if isinstance(storage, ScratchStorage)]
    return found


def test_it_cleans_the_catalogues_scratch_area_by_its_rse() -> None:
    assert volume_at(options().path)["hostPath"] == {"path": scratch().host_path, "type": "Directory"}
    assert (options().rse, options().rse_path) == (scratch().rse, scratch().rse_path)


def test_it_removes_and_keeps_users_own_folders() -> None:
    assert options().yes
    assert options().keep_levels == 1


def test_rucio_is_asked_with_a_secret_that_others_cannot_read() -> None:
    home = {entry["name"]: entry["value"] for entry in container()["env"]}["RUCIO_HOME"]
    assert volume_at(f"{home}/etc")["secret"] == {"secretName": "scratch-clean-rucio", "defaultMode": 0o440}


def test_it_has_no_rights_beyond_its_users() -> None:
    security = container()["securityContext"]
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False


def test_two_runs_do_not_meet() -> None:
    [cronjob] = objects(FOLDER, "CronJob")
    assert cronjob["spec"]["concurrencyPolicy"] == "Forbid"


def test_its_image_has_rucios_clients_and_a_tag() -> None:
    [image] = documents(KUBERNETES / FOLDER / "kustomization.yaml")[0]["images"]
    assert image["name"] == container()["image"] == "registry.example.org/dlaas-singleuser"
    assert image["newTag"] != "latest"


def test_folders_of_a_node_are_for_the_namespace_of_mounts() -> None:
    assert documents(KUBERNETES / FOLDER / "kustomization.yaml")[0]["namespace"] == "data-lake"

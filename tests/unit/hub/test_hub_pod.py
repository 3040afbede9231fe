"""The pod that is really sent, whole; and what may not be in it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kube_fakes import Scene, scene
from kubernetes_asyncio.client.models import V1Container

from jupyterhub_dlaas.hub.spawner_common import Refused


@pytest.fixture
async def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    async with scene(tmp_path, monkeypatch, agent_timeout=30, fs_gid=100) as made:
        yield made


async def sent(lake: Scene, environment: str = "root") -> dict[str, Any]:
    await lake.start(environment)
    return next(body for verb, kind, body in lake.cluster.bodies if (verb, kind) == ("create", "pods"))


async def refusal(lake: Scene, environment: str = "root") -> str:
    with pytest.raises(Refused) as caught:
        await lake.start(environment)
    assert lake.cluster.requests["post", "pods"] == 0
    assert lake.tokens() == 0
    return str(caught.value.jupyterhub_message)


async def test_the_place_at_the_rse_is_that_of_the_folder_that_is_mounted(lake: Scene) -> None:
    pod = await sent(lake)
    mounts = {mount["mountPath"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/scratch"]["subPath"] == lake.spawner.scratch_folder()


async def test_the_whole_pod(lake: Scene) -> None:
    pod = await sent(lake)
    files, secret = lake.spawner.places.files_dir, lake.spawner._pod.secret_name
    spec = pod["spec"]
    variables = {entry["name"]: entry["value"] for entry in spec["containers"][0].pop("env")}
    storages = [
        {"name": "dlaas-storage-0", "mountPath": "/eos", "readOnly": True, "mountPropagation": "HostToContainer"},
        {"name": "dlaas-storage-1", "mountPath": "/scratch", "readOnly": False, "subPath": "alice"},
    ]
    agent = "/usr/bin/dlaas-agent"
    assert spec == {
        "automountServiceAccountToken": False,
        "restartPolicy": "OnFailure",
        "securityContext": {"fsGroup": 100},
        "imagePullSecrets": [],
        "volumes": [
            {"name": "dlaas-files", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"name": "dlaas-cache", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": "dlaas-credential", "secret": {"secretName": secret, "defaultMode": 0o444}},
            {"name": "dlaas-storage-0", "hostPath": {"path": "/var/eos", "type": "DirectoryOrCreate"}},
            {"name": "dlaas-storage-1", "hostPath": {"path": "/var/scratch", "type": "DirectoryOrCreate"}},
        ],
        "initContainers": [
            {
                "name": "dlaas-agent",
                "image": "registry.example.org/agent:1",
                "imagePullPolicy": "IfNotPresent",
                "restartPolicy": "Always",
                "command": [
                    agent,
                    *("--hub-url", "http://10.0.0.1:8081/hub/", "--files", files),
                    *("--cache", "/run/dlaas-cache/rucio", "--credential-secret", "/run/dlaas-credential/token"),
                    *("--start-timeout", "30.0"),
                ],
                "lifecycle": {"postStart": {"exec": {"command": [agent, "ready", "--files", files, "--wait", "40.0"]}}},
                "resources": {
                    "requests": {"cpu": "5m", "memory": "24Mi"},
                    "limits": {"cpu": "1", "memory": "64Mi"},
                },
                "securityContext": {
                    "runAsUser": 1000,
                    "runAsGroup": 100,
                    "runAsNonRoot": True,
                    "readOnlyRootFilesystem": True,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": "dlaas-files", "mountPath": files},
                    {"name": "dlaas-cache", "mountPath": "/run/dlaas-cache"},
                    {"name": "dlaas-credential", "mountPath": "/run/dlaas-credential", "readOnly": True},
                    *({**mount, "readOnly": True} for mount in storages),
                ],
            }
        ],
        "containers": [
            {
                "name": "notebook",
                "image": "registry.example.org/escape/root:1",
                "args": ["jupyterhub-singleuser"],
                "lifecycle": {},
                "ports": [{"name": "notebook-port", "containerPort": 8888}],
                "resources": {
                    "limits": {"cpu": 1.0, "memory": 2 * 2**30},
                    "requests": {"cpu": "0", "memory": "0"},
                },
                "securityContext": {"runAsUser": 1000, "runAsGroup": 100, "allowPrivilegeEscalation": False},
                "volumeMounts": [
                    {"name": "dlaas-files", "mountPath": files, "readOnly": True},
                    {"name": "dlaas-cache", "mountPath": "/run/dlaas-cache"},
                    *storages,
                ],
            }
        ],
    }
    ours = {name: value for name, value in variables.items() if not name.startswith(("JUPYTERHUB_", "JPY_"))}
    assert {
        name: ours[name] for name in ours if name not in ("MEM_LIMIT", "CPU_LIMIT", "LANG", "PATH", "MEM_GUARANTEE")
    } == {
        "DLAAS_DIR": files,
        "JUPYTER_CONFIG_PATH": f"{files}/jupyter",
        "BEARER_TOKEN_FILE": f"{files}/status.json/tokens-are-in-DLAAS_DIR",
        "RUCIO_HOME": f"{files}/rucio",
        "RUCIO_CACHE_DIR": "/run/dlaas-cache/rucio",
        "PYTHONSTARTUP": f"{files}/python/startup.py",
        "OAUTH2_TOKEN": f"FILE:{files}/eos/token",
        "BEARER_TOKEN": "",
        "EOS_FUSE_CREDS": "",
        "KRB5CCNAME": "",
        "X509_USER_PROXY": "",
        "JUPYTER_IMAGE": "registry.example.org/escape/root:1",
        "JUPYTER_IMAGE_SPEC": "registry.example.org/escape/root:1",
    }


async def test_a_choice_goes_over_the_hubs_own_values_and_keeps_them(lake: Scene) -> None:
    own = {"key": "hub.jupyter.org/dedicated", "operator": "Equal", "value": "user", "effect": "NoSchedule"}
    lake.spawner.tolerations = {"01": own}
    lake.spawner.node_selector = {"pool": "users"}
    lake.spawner.image_pull_secrets = ["site"]
    lake.spawner.extra_resource_limits = {"example.org/thing": "1"}
    spec = (await sent(lake, "picky"))["spec"]
    assert spec["tolerations"] == [own, {"key": "gpu", "operator": "Exists"}]
    assert spec["nodeSelector"] == {"pool": "users", "gpu": "yes"}
    assert spec["imagePullSecrets"] == [{"name": "site"}, {"name": "ours"}]
    assert spec["priorityClassName"] == "high"
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    assert spec["containers"][0]["resources"] == {
        "limits": {"cpu": 8.0, "memory": 32 * 2**30, "nvidia.com/gpu": "2", "example.org/thing": "1"},
        "requests": {"cpu": 2.0, "memory": 8 * 2**30, "nvidia.com/gpu": "2"},
    }


async def test_a_guarantee_of_the_hubs_is_cut_to_the_size(lake: Scene) -> None:
    lake.spawner.mem_guarantee, lake.spawner.cpu_guarantee = "4G", 0.5
    spec = (await sent(lake))["spec"]
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": 0.5, "memory": 2 * 2**30}


async def test_the_charts_containers_stay_and_come_before_the_agent(lake: Scene) -> None:
    lake.spawner.init_containers = [
        {"name": "site", "image": "busybox:1", "command": ["true"]},
        V1Container(
            name="block-cloud-metadata", image="tools:1", security_context={"privileged": True, "runAsUser": 0}
        ),
    ]
    spec = (await sent(lake))["spec"]
    assert [container["name"] for container in spec["initContainers"]] == [
        "site",
        "block-cloud-metadata",
        "dlaas-agent",
    ]
    assert spec["initContainers"][1]["securityContext"] == {"privileged": True, "runAsUser": 0}


async def test_dictionaries_work_as_lists_do(lake: Scene) -> None:
    lake.spawner.init_containers = {"b": {"name": "two", "image": "b:1"}, "a": {"name": "one", "image": "b:1"}}
    lake.spawner.volumes = {"home": {"name": "home", "persistentVolumeClaim": {"claimName": "claim-{user_server}"}}}
    lake.spawner.volume_mounts = {"home": {"name": "home", "mountPath": "/home/jovyan"}}
    spec = (await sent(lake))["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["one", "two", "dlaas-agent"]
    assert spec["volumes"][0] == {"name": "home", "persistentVolumeClaim": {"claimName": "claim-alice"}}
    assert spec["containers"][0]["volumeMounts"][0] == {"name": "home", "mountPath": "/home/jovyan"}


async def test_lists_that_extra_pod_config_replaces_get_ours_all_the_same(lake: Scene) -> None:
    lake.spawner.extra_pod_config = {
        "initContainers": [{"name": "only", "image": "b:1"}],
        "volumes": [{"name": "other", "emptyDir": {}}],
    }
    spec = (await sent(lake))["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["only", "dlaas-agent"]
    assert spec["volumes"][0]["name"] == "other"
    assert spec["volumes"][1]["name"] == "dlaas-files"


async def test_a_hook_sees_the_whole_pod_and_may_change_what_is_not_ours(lake: Scene) -> None:
    def hook(spawner: Any, pod: Any) -> Any:
        pod.spec.init_containers[-1].image = "mirror.example.org/agent:1"
        pod.spec.containers[0].env.append({"name": "MINE", "value": "1"})
        pod.metadata.labels["mine"] = "1"
        return pod

    lake.spawner.modify_pod_hook = hook
    pod = await sent(lake)
    assert pod["spec"]["initContainers"][0]["image"] == "mirror.example.org/agent:1"
    assert pod["metadata"]["labels"]["mine"] == "1"


async def test_a_service_accounts_token_is_kept_from_the_agent(lake: Scene) -> None:
    lake.spawner.service_account, lake.spawner.automount_service_account_token = "users", True
    spec = (await sent(lake))["spec"]
    empty = {"name": "dlaas-no-account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    assert empty in spec["initContainers"][0]["volumeMounts"]
    assert empty not in spec["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("settings", "user"),
    [
        ({"uid": 1234, "gid": 5678}, (1234, 5678)),
        ({"uid": 1234, "fs_gid": 77}, (1234, 77)),
        ({"uid": 1234, "fs_gid": None}, (1234, 100)),
        ({"uid": None, "pod_security_context": {"runAsUser": 42, "runAsGroup": 43}}, (42, 43)),
        ({"uid": lambda spawner: 4321}, (4321, 100)),
    ],
)
async def test_both_containers_run_as_the_notebooks_user(lake: Scene, settings: Any, user: tuple[int, int]) -> None:
    for name, value in settings.items():
        setattr(lake.spawner, name, value)
    spec = (await sent(lake))["spec"]
    contexts = [spec["initContainers"][0]["securityContext"], spec["containers"][0]["securityContext"]]
    assert [(context["runAsUser"], context["runAsGroup"]) for context in contexts] == [user, user]


@pytest.mark.parametrize(("uid", "why"), [(None, "says nothing about its user"), (0, "as root")])
async def test_without_a_user_there_is_no_server(lake: Scene, uid: int | None, why: str) -> None:
    lake.spawner.uid = uid
    said = await refusal(lake)
    assert why in said
    assert "c.KubeSpawner.uid" in said


async def test_variables_that_outrank_the_tokens_go(lake: Scene) -> None:
    lake.spawner.environment = {"RUCIO_CONFIG": "/etc/rucio.cfg", "X509_USER_PROXY": "/tmp/x", "MINE": "{username}"}
    spec = (await sent(lake))["spec"]
    variables = {entry["name"]: entry["value"] for entry in spec["containers"][0]["env"]}
    assert "RUCIO_CONFIG" not in variables
    assert variables["X509_USER_PROXY"] == ""
    assert variables["MINE"] == "alice"


async def test_a_storage_that_hides_a_mount_is_refused(lake: Scene) -> None:
    lake.spawner.volumes = [{"name": "data", "emptyDir": {}}]
    lake.spawner.volume_mounts = [{"name": "data", "mountPath": "/scratch/data"}]
    said = await refusal(lake)
    assert said.startswith("The storage scratch is mounted at /scratch, where it would hide the volume data")


async def test_a_storage_that_hides_the_working_folder_is_refused(lake: Scene) -> None:
    lake.spawner.working_dir = "/eos"
    assert "would hide the working folder (/eos)" in await refusal(lake)


async def test_a_storage_below_a_mount_is_fine(lake: Scene) -> None:
    lake.spawner.volumes = [{"name": "data", "emptyDir": {}}]
    lake.spawner.volume_mounts = [{"name": "data", "mountPath": "/scratch-of-the-site"}]
    lake.spawner.working_dir = "/home/jovyan"
    assert (await sent(lake))["spec"]["containers"][0]["workingDir"] == "/home/jovyan"


async def test_names_of_ours_are_taken(lake: Scene) -> None:
    lake.spawner.volumes = [{"name": "dlaas-files", "emptyDir": {}}]
    assert "dlaas-files" in await refusal(lake)


def drop_agent(pod: Any) -> None:
    pod.spec.init_containers = []


def other_command(pod: Any) -> None:
    pod.spec.init_containers[-1].command = ["sleep", "inf"]


def writable(pod: Any) -> None:
    pod.spec.containers[0].volume_mounts = [
        {**mount, "readOnly": False} if mount["name"] == "dlaas-files" else mount
        for mount in pod.spec.containers[0].volume_mounts
    ]


def replaced_volumes(pod: Any) -> None:
    pod.spec.volumes = []


def credential_in_notebook(pod: Any) -> None:
    pod.spec.containers[0].volume_mounts.append({"name": "dlaas-credential", "mountPath": "/x"})


def second_volume(pod: Any) -> None:
    name = next(volume for volume in pod.spec.volumes if volume.name == "dlaas-credential").secret["secretName"]
    pod.spec.volumes.append({"name": "mine", "projected": {"sources": [{"secret": {"name": name}}]}})


def in_a_variable(pod: Any) -> None:
    name = next(volume for volume in pod.spec.volumes if volume.name == "dlaas-credential").secret["secretName"]
    source = {"secretKeyRef": {"name": name, "key": "token"}}
    pod.spec.containers[0].env.append({"name": "X", "valueFrom": source})


def other_user(pod: Any) -> None:
    pod.spec.containers[0].security_context["runAsUser"] = 2000


def not_first(pod: Any) -> None:
    pod.spec.containers.insert(0, {"name": "proxy", "image": "p:1"})


def host_pid(pod: Any) -> None:
    pod.spec.host_pid = True


def hidden(pod: Any) -> None:
    pod.spec.volumes.append({"name": "run", "emptyDir": {}})
    pod.spec.containers[0].volume_mounts.append({"name": "run", "mountPath": "/run/"})


def without_variables(pod: Any) -> None:
    pod.spec.containers[0].env = []


def bearer(pod: Any) -> None:
    pod.spec.containers[0].env.append({"name": "RUCIO_CONFIG", "value": "/x"})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (drop_agent, "0 containers dlaas-agent"),
        (other_command, "command of the container dlaas-agent was changed"),
        (writable, "mount dlaas-files once"),
        (replaced_volumes, "volume dlaas-files is missing"),
        (credential_in_notebook, "container notebook would see the agent's credential"),
        (second_volume, "volume mine would show the agent's credential"),
        (in_a_variable, "container notebook would see the agent's credential"),
        (other_user, "The notebook runs as 2000:100 and its agent as 1000:100"),
        (not_first, "first container has to be notebook"),
        (host_pid, "hostPID"),
        (hidden, "The volume run at /run hides"),
        (without_variables, "DLAAS_DIR is not in it"),
        (bearer, "RUCIO_CONFIG would be used instead"),
    ],
)
async def test_a_hook_that_breaks_the_token_path_is_refused(lake: Scene, change: Any, why: str) -> None:
    async def hook(spawner: Any, pod: Any) -> Any:
        await asyncio.sleep(0)
        change(pod)
        return pod

    lake.spawner.modify_pod_hook = hook
    assert why in await refusal(lake)

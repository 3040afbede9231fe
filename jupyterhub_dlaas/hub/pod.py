"""What the data lake adds to the pod that KubeSpawner has made: pure, in Kubernetes' own form.

Ours comes after everything else was put together, because the chart's and administrators' settings replace whole lists.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernetes_asyncio.client.models import V1Container, V1Volume
from kubespawner.utils import get_k8s_model

from jupyterhub_dlaas.agent.command import AGENT_PROGRAM, command, ready_command
from jupyterhub_dlaas.bundle.environment import UNSET, environment
from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.catalogue.offer import Choice
from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.hub.pod_storages import StorageParts, collisions

NOTEBOOK = "notebook"
AGENT = "dlaas-agent"
FILES, CACHE, CREDENTIAL, NO_ACCOUNT = "dlaas-files", "dlaas-cache", "dlaas-credential", "dlaas-no-account"
SECRET_KEY = "token"  # noqa: S105  the name of a key

_FILES_BELOW = "/run/dlaas"
_CACHE_AT = "/run/dlaas-cache"
_CREDENTIAL_AT = "/run/dlaas-credential"
_ACCOUNT_AT = "/var/run/secrets/kubernetes.io/serviceaccount"
_READ_BY_ALL = 0o444  # fsGroup would widen less anyway, and only the agent's container has the mount
_USUAL_GROUP = 100
# kubelet waits a little longer than the agent, so that the agent's own reason ends the start.
_LATER_SECONDS = 10.0
# What an image's own ENV says cannot be unset; these, empty, are as good as unset.
_HARMLESS_WHEN_EMPTY = ("BEARER_TOKEN", "EOS_FUSE_CREDS", "KRB5CCNAME", "X509_USER_PROXY")


@dataclass(frozen=True)
class AgentSettings:
    """`timeout_seconds` is for the agent's first write; `resources` are those of a container."""

    image: str
    pull_policy: str
    resources: Mapping[str, Any]
    files_size_limit: str
    cache_size_limit: str
    timeout_seconds: float


@dataclass(frozen=True)
class Addition:
    """Everything that is added to one pod."""

    secret_name: str
    places: Places
    volumes: tuple[dict[str, Any], ...]
    agent: dict[str, Any]
    notebook_mounts: tuple[dict[str, Any], ...]
    storages: StorageParts = field(default_factory=StorageParts)

    @property
    def user(self) -> dict[str, int]:
        """`runAsUser` and `runAsGroup` of both containers."""
        return {key: self.agent["securityContext"][key] for key in ("runAsUser", "runAsGroup")}


def new_places() -> Places:
    """Paths for one start, of which the first cannot be guessed: eosxd remembers logins by path, uid and jail id."""
    return Places(f"{_FILES_BELOW}/{secrets.token_hex(16)}", f"{_CACHE_AT}/rucio")


def new_secret_name(pod_name: str) -> str:
    """A new one at each start, so that the Secret of the pod before, still being collected, is not in the way."""
    return f"{pod_name[:200].rstrip('-.')}-dlaas-{secrets.token_hex(4)}"


def server_environment(
    base: Mapping[str, Any], choice: Choice, places: Places, own: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """The notebook's variables, and those of the administrator's `own` that had to go."""
    kept = {key: value for key, value in base.items() if key not in UNSET}
    texts = {key: value for key, value in kept.items() if isinstance(value, str)}
    empty = dict.fromkeys(_HARMLESS_WHEN_EMPTY, "")
    if "x509_proxy" in choice.offer.environment.auth_types:
        del empty["X509_USER_PROXY"]  # Rucio's clients take an empty one for a path
    return {**kept, **empty, **environment(choice, places, texts)}, [
        key for key in UNSET if base.get(key) and key in own
    ]


def addition(
    manifest: Mapping[str, Any],
    settings: AgentSettings,
    *,
    places: Places,
    secret_name: str,
    hub_url: str,
    storages: StorageParts,
) -> Addition:
    """What is added to `manifest`, KubeSpawner's pod. Raises ConfigError where the two cannot go together."""
    spec = manifest["spec"]
    notebook = _notebook(spec)
    problems = [*_taken_names(spec), *collisions(storages, notebook)]
    if problems:
        raise ConfigError(" ".join(problems))
    uid, gid = _user(spec, notebook)
    volumes: list[dict[str, Any]] = [
        {"name": FILES, "emptyDir": {"medium": "Memory", "sizeLimit": settings.files_size_limit}},
        {"name": CACHE, "emptyDir": {"medium": "Memory", "sizeLimit": settings.cache_size_limit}},
        {"name": CREDENTIAL, "secret": {"secretName": secret_name, "defaultMode": _READ_BY_ALL}},
        *storages.volumes,
    ]
    mounts: list[dict[str, Any]] = [
        {"name": FILES, "mountPath": places.files_dir},
        {"name": CACHE, "mountPath": _CACHE_AT},
        {"name": CREDENTIAL, "mountPath": _CREDENTIAL_AT, "readOnly": True},
        *storages.probed,
    ]
    if spec.get("automountServiceAccountToken") is not False:
        # Kubernetes puts the token of the notebook's service account nowhere where something is mounted already.
        volumes.append({"name": NO_ACCOUNT, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
        mounts.append({"name": NO_ACCOUNT, "mountPath": _ACCOUNT_AT, "readOnly": True})
    return Addition(
        secret_name=secret_name,
        places=places,
        volumes=tuple(volumes),
        agent=_agent(settings, places, hub_url, uid, gid, mounts),
        notebook_mounts=(
            {"name": FILES, "mountPath": places.files_dir, "readOnly": True},
            {"name": CACHE, "mountPath": _CACHE_AT},
            *storages.mounts,
        ),
        storages=storages,
    )


def add(pod: Any, parts: Addition) -> Any:
    """Adds it to a V1Pod, in place: the agent last of the init containers, after the administrator's."""
    spec = pod.spec
    spec.volumes = _models(V1Volume, (*(spec.volumes or ()), *parts.volumes))
    spec.init_containers = _models(V1Container, (*(spec.init_containers or ()), parts.agent))
    spec.containers = _models(V1Container, spec.containers)
    notebook = spec.containers[0]
    notebook.volume_mounts = [*(notebook.volume_mounts or ()), *parts.notebook_mounts]
    notebook.security_context = {**_plain_context(notebook.security_context), **parts.user}
    return pod


def secret(
    parts_name: str,
    token: str,
    *,
    pod_name: str,
    pod_uid: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """The Secret with the agent's credential, which goes with its pod.

    Not `blockOwnerDeletion`: where the API server checks that right (OpenShift), the hub does not have it.
    """
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": pod_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": parts_name,
            "labels": dict(labels),
            "annotations": dict(annotations),
            "ownerReferences": [{**owner, "controller": False, "blockOwnerDeletion": False}],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {SECRET_KEY: base64.b64encode(token.encode()).decode("ascii")},
    }


def _agent(
    settings: AgentSettings, places: Places, hub_url: str, uid: int, gid: int, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    ready = ready_command(
        files=places.files_dir, program=AGENT_PROGRAM, wait_seconds=settings.timeout_seconds + _LATER_SECONDS
    )
    return {
        "name": AGENT,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "restartPolicy": "Always",  # makes it a sidecar: it goes on while the notebook runs
        "command": command(
            hub_url=hub_url,
            files=places.files_dir,
            cache=places.cache_dir,
            credential_secret=f"{_CREDENTIAL_AT}/{SECRET_KEY}",
            start_timeout_seconds=settings.timeout_seconds,
            program=AGENT_PROGRAM,
        ),
        # The notebook is started when this has returned. A startup probe would look once a second.
        "lifecycle": {"postStart": {"exec": {"command": ready}}},
        "resources": {key: dict(value) for key, value in settings.resources.items()},
        "securityContext": {
            "runAsUser": uid,
            "runAsGroup": gid,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Its last line is the reason that the hub shows when a start fails.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _notebook(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = spec.get("containers") or [{}]
    first: Mapping[str, Any] = containers[0]
    if first.get("name") != NOTEBOOK:
        raise ConfigError(
            f"The first container of the server's pod is {first.get('name')!r}, not {NOTEBOOK!r}.",
            hint="Use c.KubeSpawner.extra_containers (singleuser.extraContainers) instead of `containers` in "
            "c.KubeSpawner.extra_pod_config.",
        )
    return first


def _taken_names(spec: Mapping[str, Any]) -> list[str]:
    taken = [entry["name"] for key in ("initContainers", "containers") for entry in spec.get(key) or ()]
    problems = [f"A container of c.KubeSpawner is named {AGENT}: rename it."] if AGENT in taken else []
    for volume in spec.get("volumes") or ():
        if volume["name"].startswith("dlaas-"):
            problems.append(f"The volume {volume['name']} of c.KubeSpawner.volumes has a name that is ours: rename it.")
    return problems


def _user(spec: Mapping[str, Any], notebook: Mapping[str, Any]) -> tuple[int, int]:
    """The notebook's uid and gid, for the agent's files: EOS takes only those of the reading process's own uid."""
    of_pod, own = spec.get("securityContext") or {}, notebook.get("securityContext") or {}
    uid = own.get("runAsUser", of_pod.get("runAsUser"))
    if not uid:
        raise ConfigError(
            "The server's pod says nothing about its user." if uid is None else "The server would run as root.",
            hint="Set c.KubeSpawner.uid (singleuser.uid) to the uid of the images' user, such as 1000.",
        )
    groups = (own.get("runAsGroup"), of_pod.get("runAsGroup"), of_pod.get("fsGroup"), _USUAL_GROUP)
    return int(uid), int(next(group for group in groups if group is not None))


def _models(kind: Any, items: Iterable[Any]) -> list[Any]:
    """Each as a model, which hooks expect. What is one already is kept: `get_k8s_model` copies, deeply and slowly."""
    return [item if isinstance(item, kind) else get_k8s_model(kind, item) for item in items]


def _plain_context(context: Any) -> dict[str, Any]:
    if context is None or isinstance(context, dict):
        return dict(context or {})
    return {context.attribute_map[key]: value for key, value in vars_of(context).items() if value is not None}


def vars_of(model: Any) -> dict[str, Any]:
    """A Kubernetes model's own attributes."""
    return {key: getattr(model, key) for key in model.attribute_map}

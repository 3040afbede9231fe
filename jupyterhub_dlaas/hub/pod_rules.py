"""What must hold in the pod that is really created, after every setting and hook: else no server, and a sentence.

The agent's credential may be seen by the agent alone, and the notebook has to find its files.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jupyterhub_dlaas.bundle.environment import UNSET
from jupyterhub_dlaas.catalogue.fields import is_within
from jupyterhub_dlaas.hub.pod import AGENT, CREDENTIAL, FILES, NOTEBOOK, Addition

_HOOK = "Change c.KubeSpawner.modify_pod_hook so that it leaves that as it is."
_KEPT = ("command", "args", "lifecycle", "restartPolicy", "securityContext")


def problems(manifest: Mapping[str, Any], parts: Addition) -> list[str]:
    """Sentences, each with the setting and the remedy; empty for a pod that can be created."""
    spec = manifest["spec"]
    return [*_shared(spec), *_agent(spec, parts), *_notebook(spec, parts), *_volumes(spec, parts), *_seen(spec, parts)]


def _shared(spec: Mapping[str, Any]) -> Iterator[str]:
    for key, what in (("hostPID", "the node's processes"), ("shareProcessNamespace", "each other's processes")):
        if spec.get(key):
            yield (
                f"{key} lets the server's containers see {what}, and through /proc the agent's credential. Take it out "
                "of c.KubeSpawner.extra_pod_config (singleuser.extraPodConfig) and of c.KubeSpawner.modify_pod_hook."
            )


def _agent(spec: Mapping[str, Any], parts: Addition) -> Iterator[str]:
    found = [container for container in spec.get("initContainers") or () if container.get("name") == AGENT]
    if len(found) != 1:
        yield f"The pod has {len(found)} containers {AGENT} instead of one. {_HOOK}"
        return
    changed = [key for key in _KEPT if found[0].get(key) != parts.agent.get(key)]
    mounts = found[0].get("volumeMounts") or ()
    if any(mount not in mounts for mount in parts.agent["volumeMounts"]):
        changed.append("volumeMounts")
    if changed:
        yield f"{', '.join(changed)} of the container {AGENT} was changed. {_HOOK}"


def _notebook(spec: Mapping[str, Any], parts: Addition) -> Iterator[str]:
    notebook = (spec.get("containers") or [{}])[0]
    if notebook.get("name") != NOTEBOOK:
        yield f"The first container has to be {NOTEBOOK}, it is {notebook.get('name')!r}. {_HOOK}"
        return
    mounts: Sequence[Mapping[str, Any]] = notebook.get("volumeMounts") or ()
    for wanted in parts.notebook_mounts[:2]:
        found = [mount for mount in mounts if mount.get("name") == wanted["name"]]
        if found != [wanted]:
            how = ", read-only" if wanted["name"] == FILES else ""
            yield f"The notebook has to mount {wanted['name']} once at {wanted['mountPath']}{how}. {_HOOK}"
    for mount in mounts:
        path = posixpath.normpath(mount.get("mountPath", "/"))
        if mount not in parts.notebook_mounts and is_within(parts.places.files_dir, path):
            yield (
                f"The volume {mount.get('name')} at {path} hides the server's data lake files. "
                "Mount it elsewhere in c.KubeSpawner.volume_mounts."
            )
    context = notebook.get("securityContext") or {}
    if {key: context.get(key) for key in parts.user} != parts.user:
        yield (
            f"The notebook runs as {context.get('runAsUser')}:{context.get('runAsGroup')} and its agent as "
            f"{parts.user['runAsUser']}:{parts.user['runAsGroup']}; EOS takes only files of the notebook's own user. "
            "Set c.KubeSpawner.uid and c.KubeSpawner.gid instead of changing the pod in c.KubeSpawner.modify_pod_hook."
        )
    yield from _environment(notebook, parts)


def _environment(notebook: Mapping[str, Any], parts: Addition) -> Iterator[str]:
    variables = {entry.get("name"): entry for entry in notebook.get("env") or ()}
    if (variables.get("DLAAS_DIR") or {}).get("value") != parts.places.files_dir:
        yield (
            "The notebook's environment was replaced, DLAAS_DIR is not in it. Use c.KubeSpawner.environment "
            "(singleuser.extraEnv) instead of `env` in c.KubeSpawner.extra_container_config or a hook."
        )
    for name in UNSET:
        entry = variables.get(name)
        if entry is not None and (entry.get("value") or entry.get("valueFrom")):
            yield (
                f"{name} would be used instead of the data lake's own tokens and settings. Take it out of "
                "c.KubeSpawner.extra_container_config and c.KubeSpawner.modify_pod_hook."
            )


def _volumes(spec: Mapping[str, Any], parts: Addition) -> Iterator[str]:
    volumes = spec.get("volumes") or ()
    for wanted in parts.volumes:
        if [volume for volume in volumes if volume.get("name") == wanted["name"]] != [wanted]:
            yield f"The volume {wanted['name']} is missing or was changed. {_HOOK}"


def _seen(spec: Mapping[str, Any], parts: Addition) -> Iterator[str]:
    """Who else could read the credential."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    for container in (container for kind in kinds for container in spec.get(kind) or ()):
        if container.get("name") == AGENT:
            continue
        uses = any(mount.get("name") == CREDENTIAL for mount in container.get("volumeMounts") or ())
        if uses or _names(container.get("env"), parts) or _names(container.get("envFrom"), parts):
            yield f"The container {container.get('name')} would see the agent's credential. {_HOOK}"
    for volume in spec.get("volumes") or ():
        if volume.get("name") != CREDENTIAL and _names(volume, parts):
            yield f"The volume {volume.get('name')} would show the agent's credential. {_HOOK}"


def _names(part: Any, parts: Addition) -> bool:
    return json.dumps(parts.secret_name) in json.dumps(part)

"""Looks for tokens wherever somebody who may read the namespace could find them: objects, events, descriptions, logs.

Secrets themselves are where tokens belong, and JupyterHub puts its own JUPYTERHUB_API_TOKEN into a pod's environment.
"""

from __future__ import annotations

import base64
import re

from support.leaks import Leaks

from cluster.kubectl import ClusterError, get, kubectl

LABEL = "dlaas.test/part=lake"  # on every pod of the lake, users' servers too
JUPYTERHUBS_OWN = re.compile(
    r"(JUPYTERHUB_API_TOKEN|JPY_API_TOKEN):? .*|- name: (JUPYTERHUB|JPY)_API_TOKEN\n\s*value: .*"
)

_known: set[str] = set()


def remember() -> set[str]:
    """Every secret value of the namespace so far: agents' tokens, the client's secret, the hub's keys."""
    for secret in get("secrets"):
        for value in (secret.get("data") or {}).values():
            _known.add(base64.b64decode(value).decode(errors="replace").strip())
    return _known


def look() -> Leaks:
    """Everything of the namespace that is no Secret."""
    leaks = Leaks(remember())
    for kind in ("pods", "events", "configmaps", "deployments,daemonsets,services"):
        leaks.text(kind, JUPYTERHUBS_OWN.sub("", kubectl("get", kind, "-o", "yaml")))
    leaks.text("describe", JUPYTERHUBS_OWN.sub("", kubectl("describe", "pods")))
    leaks.text("container logs", logs())
    return leaks


def logs() -> str:
    """What all containers have said, those that were restarted too."""
    every = ["logs", "-l", LABEL, "--all-containers", "--prefix", "--tail=-1", "--max-log-requests=100"]
    text = kubectl(*every, "--ignore-errors")
    for pod in get("pods", "-l", LABEL):
        statuses = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
        for status in statuses:
            if status.get("restartCount"):
                try:
                    text += kubectl("logs", pod["metadata"]["name"], "-c", status["name"], "--previous")
                except ClusterError:  # not kept any more
                    continue
    return text

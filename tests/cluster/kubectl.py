"""`kubectl` on the cluster that KUBECONFIG names. Everything goes through it, as a person's own commands would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMESPACE = "dlaas-test"
HOW_TO_GET_A_CLUSTER = (
    "No cluster: KUBECONFIG is not set. Set it to the configuration of a cluster that you may fill and break "
    "(Kubernetes 1.29 or later, one node is enough: kind, k3s, minikube), with an administrator's rights, and "
    "DLAAS_CLUSTER_LOAD to the command that loads an image archive into it, for example "
    "`kind load image-archive`."
)


class ClusterError(Exception):
    """What went wrong, for the person who started it."""


def need_cluster() -> None:
    """ClusterError with a sentence that says how to get a cluster, if there is none."""
    named = os.environ.get("KUBECONFIG", "")
    if not named:
        raise ClusterError(HOW_TO_GET_A_CLUSTER)
    if not any(Path(path).exists() for path in named.split(os.pathsep)):
        raise ClusterError(f"KUBECONFIG is {named}, and there is no such file.")
    if not shutil.which("kubectl"):
        raise ClusterError("kubectl is not on PATH.")
    answer = subprocess.run(["kubectl", "get", "--raw", "/readyz"], capture_output=True, text=True)
    if answer.returncode:
        raise ClusterError(f"The cluster of {named} does not answer: {answer.stderr.strip()[-300:]}")


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = 120, namespace: str | None = NAMESPACE) -> str:
    """Standard output of one command; ClusterError with what it said if it failed."""
    where = ["--namespace", namespace] if namespace else []
    try:
        answer = subprocess.run(
            ["kubectl", *where, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"kubectl {' '.join(arguments[:3])} did not end within {seconds:g} s") from None
    if answer.returncode:
        said = (answer.stderr.strip() or answer.stdout.strip())[-2000:]
        raise ClusterError(f"kubectl {' '.join(arguments[:4])}: {said}")
    return answer.stdout


def get(kind: str, *arguments: str, namespace: str | None = NAMESPACE) -> Any:
    """One object, or a list's items, as parsed JSON."""
    found = json.loads(kubectl("get", kind, *arguments, "-o", "json", namespace=namespace))
    return found["items"] if found["kind"] == "List" else found


def ask_inside(workload: str, method: str, url: str, body: Any) -> Any:
    """Asks a server from inside its own pod, where it only answers there; JSON both ways."""
    code = (
        "import sys, urllib.request as r; print(r.urlopen(r.Request(sys.argv[2], sys.stdin.buffer.read(),"
        " {'Content-Type': 'application/json'}, method=sys.argv[1])).read().decode())"
    )
    said = kubectl("exec", "-i", workload, "--", "python3", "-c", code, method, url, stdin=json.dumps(body))
    return json.loads(said)


def exists(kind: str, name: str, *, namespace: str | None = NAMESPACE) -> bool:
    return bool(kubectl("get", kind, name, "--ignore-not-found", "-o", "name", namespace=namespace).strip())


def wait_until(
    what: str,
    there: Callable[[], bool],
    *,
    seconds: float = 120,
    every: float = 0.5,
    say: Callable[[str], None] = lambda _: None,
) -> float:
    """Waits, with a line at least every 8 s; returns how long it took. ClusterError when time is up."""
    began = said = time.monotonic()
    while not there():
        now = time.monotonic()
        if now - began > seconds:
            raise ClusterError(f"{what}: not within {seconds:g} s")
        if now - said >= 8:
            said = now
            say(f"  {what}: {now - began:.0f} s")
        time.sleep(every)
    return time.monotonic() - began


def node_address() -> str:
    """An address of the cluster's first node that both pods and this machine reach."""
    nodes = get("nodes", namespace=None)
    addresses = {entry["type"]: entry["address"] for entry in nodes[0]["status"]["addresses"]}
    return str(addresses.get("InternalIP") or addresses["Hostname"])

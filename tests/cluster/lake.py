"""`PYTHONPATH=tests python -m cluster.lake up | down | status`: the whole data lake in the cluster of KUBECONFIG.

`up` builds and loads the images that the cluster does not have, applies `deploy/`, waits until everything answers, and
prints where to go and who can log in. A lake that is there already is brought up to date, not made anew.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from ruamel.yaml import YAML

from cluster import images
from cluster.kubectl import NAMESPACE, ClusterError, exists, get, kubectl, need_cluster, node_address, wait_until

DEPLOY = Path(__file__).with_name("deploy")
TOKEN_SECONDS = 40
EXTRA_USERS = 2
CLIENT_SECRET = "dlaas-secret"  # the stand-in's own
HUB_PORT, IAM_PORT = 30480, 30481
WORKLOADS = (
    "daemonset/node",
    "deployment/iam",
    "deployment/rucio",
    "deployment/proxy",
    "deployment/api-server",
    "daemonset/xrootdfs",
)
READ_AT_START = {"hub": "hub/jupyterhub_config.py", "api-server": "api_server.py"}
PEOPLE = {
    "alice": "member of the VO ESCAPE and of its group CMS",
    "bob": "member of the VO SKA",
    "carol": "in no VO",
    "user0": "member of the VO ESCAPE",
    "user1": "member of the VO ESCAPE",
}

_began = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the seconds since the beginning."""
    print(f"[{time.monotonic() - _began:5.0f} s] {text}", flush=True)


@dataclass(frozen=True)
class Deployment:
    """A lake that runs."""

    url: str
    issuer: str


def up(say: Callable[[str], None] = say) -> Deployment:
    """Brings everything up, or up to date."""
    need_cluster()
    address = node_address()
    lake = Deployment(f"http://{address}:{HUB_PORT}", f"http://{address}:{IAM_PORT}/")
    loaded = images.provide(say)
    say(f"Applying the manifests to the namespace {NAMESPACE}")
    documents = render({"NODE": address, "TOKEN_SECONDS": str(TOKEN_SECONDS), "EXTRA_USERS": str(EXTRA_USERS)}, loaded)
    _apply(document for document in documents if document["kind"] == "Namespace")
    _secrets()
    _release_volumes()
    _apply(documents)
    for workload in WORKLOADS:
        _rolled_out(workload, say)
    _rolled_out("deployment/hub", say)
    for what, url in (("IAM", f"{lake.issuer}.well-known/openid-configuration"), ("hub", f"{lake.url}/hub/health")):
        wait_until(f"{what} at {url}", lambda url=url: _answers(url), say=say)  # type: ignore[misc]
    say("Everything is up")
    return lake


def down(say: Callable[[str], None] = say) -> None:
    """Removes everything from the cluster, and from its nodes what the lake had there; the images stay."""
    need_cluster()
    if exists("namespace", NAMESPACE, namespace=None):
        if exists("daemonset", "node"):
            say("Removing homes, scratch and the hub's database from the nodes")
            for pod in get("pods", "-l", "app=node"):
                if pod["status"]["phase"] == "Running":
                    kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", "rm -rf /here/*")
        say(f"Deleting the namespace {NAMESPACE}")
        kubectl("delete", "namespace", NAMESPACE, "--wait=false", namespace=None)
        wait_until(
            "the namespace's end", lambda: not exists("namespace", NAMESPACE, namespace=None), seconds=180, say=say
        )
    kubectl("delete", "persistentvolume", "-l", "app=dlaas-test", "--wait=false", namespace=None)
    say("Nothing is left")


def status() -> str:
    """What `kubectl` says of it."""
    need_cluster()
    return kubectl("get", "pods,services", "-o", "wide")


def render(values: dict[str, str], loaded: dict[str, str]) -> list[dict[str, Any]]:
    """The manifests with their values. A pod template says which image and which configuration it was made for, so
    that a new one under the same tag is taken."""
    text = subprocess.run(["kubectl", "kustomize", str(DEPLOY)], capture_output=True, text=True)
    if text.returncode:
        raise ClusterError(f"kubectl kustomize: {text.stderr.strip()}")
    documents = [_filled(document, values) for document in YAML(typ="safe", pure=True).load_all(text.stdout)]
    for document in documents:
        if document["kind"] not in ("Deployment", "DaemonSet"):
            continue
        pod = document["spec"]["template"]
        containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
        used = sorted({loaded.get(container["image"], "") for container in containers})
        if file := READ_AT_START.get(document["metadata"]["name"]):
            used.append(hashlib.sha256((DEPLOY / file).read_bytes()).hexdigest())
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations["dlaas.test/made-for"] = hashlib.sha256("".join(used).encode()).hexdigest()[:16]
    return documents


def _filled(node: Any, values: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    return Template(node).safe_substitute(values) if isinstance(node, str) else node


def _apply(documents: Iterable[dict[str, Any]]) -> None:
    everything = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    kubectl("apply", "-f", "-", stdin=json.dumps(everything), namespace=None)


def _secrets() -> None:
    """Made once: with another crypt key nobody's session could be read any more."""
    if exists("secret", "lake-secrets"):
        return
    made = {
        "crypt-key": secrets.token_hex(32),
        "proxy-token": secrets.token_hex(32),
        "rucio-root": secrets.token_urlsafe(16),
        "client-secret": CLIENT_SECRET,
    }
    data = {name: base64.b64encode(value.encode()).decode() for name, value in made.items()}
    metadata = {"name": "lake-secrets", "namespace": NAMESPACE}
    _apply([{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}])


def _release_volumes() -> None:
    """A volume whose claim is gone keeps the claim's uid and would never be bound again."""
    for volume in get("persistentvolumes", "-l", "app=dlaas-test", namespace=None):
        if volume["status"].get("phase") == "Released":
            kubectl("delete", "persistentvolume", volume["metadata"]["name"], namespace=None)


def _rolled_out(workload: str, say: Callable[[str], None]) -> None:
    process = subprocess.Popen(
        ["kubectl", "--namespace", NAMESPACE, "rollout", "status", workload, "--timeout=300s"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    took = wait_until(f"{workload} is starting", lambda: process.poll() is not None, seconds=320, say=say)
    if process.returncode:
        assert process.stderr is not None
        pods = kubectl("get", "pods", "-o", "wide")
        raise ClusterError(f"{workload} did not start: {process.stderr.read().strip()}\n{pods}")
    say(f"{workload} is ready after {took:.0f} s")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.lake", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status"))
    options = parser.parse_args()
    try:
        if options.command == "status":
            print(status())
        elif options.command == "down":
            down()
        else:
            lake = up()
            print(f"\nJupyterHub: {lake.url}\nIAM:        {lake.issuer}\n\nLog in as")
            for name, who in PEOPLE.items():
                print(f"  {name:8} password {name}-pw   {who}")
            print(f"\nTokens live {TOKEN_SECONDS} s. Everything is in the namespace {NAMESPACE}.")
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

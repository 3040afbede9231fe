"""What the data lake adds to a pod's start, measured on the cluster of `KUBECONFIG` beside stock KubeSpawner.

Hubs are processes of this machine; `DLAAS_BENCH_HOST` is its address as pods see it. Images are those of `make images`
(`DLAAS_BENCH_IMAGE`, `DLAAS_AGENT_IMAGE`). The servers are Python's smallest web server, because JupyterLab's own start
would hide what is measured.
"""

from __future__ import annotations

import asyncio
import datetime
import gzip
import os
import random
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config, watch

from benchmarks.hub import Scene, scene
from benchmarks.rows import Row

NAMESPACE = "dlaas-bench"
HOST = os.environ.get("DLAAS_BENCH_HOST", "10.240.0.1")
IMAGE = os.environ.get("DLAAS_BENCH_IMAGE", "localhost/dlaas-singleuser:dev")
AGENT_IMAGE = os.environ.get("DLAAS_AGENT_IMAGE", "localhost/dlaas-agent:dev")
KINDS = ("stock", "dlaas")
SIDECAR = "stock, each pod with an idle sidecar"

Hub = tuple[Any, int, list[dict[str, str]]]


def _kubectl(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True, timeout=180).stdout


@contextmanager
def _namespace() -> Iterator[None]:
    _kubectl("create", "namespace", NAMESPACE)
    try:
        yield
    finally:
        _kubectl("delete", "namespace", NAMESPACE, "--wait=true")


def _hub(made: Scene, kind: str) -> Any:
    cluster = {"namespace": NAMESPACE, "image": IMAGE, "agent_image": AGENT_IMAGE, "host": HOST}
    if kind == SIDECAR:
        return made.hub("stock", running=False, cluster={**cluster, "idle_sidecar": "yes"})
    return made.hub(kind, running=False, cluster=cluster)


async def _call(hub: Hub, method: str, caller: dict[str, str]) -> None:
    """Starts (POST) or stops (DELETE) the user's server; returns when that is done."""
    url = f"http://{HOST}:{hub[1]}/hub/api/users/{caller['name']}/server"
    headers = {"Authorization": f"token {caller['token']}"}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
        if answer.status not in (201, 204):
            raise RuntimeError(f"{method} {url}: {answer.status} {(await answer.text())[:500]}")


async def _created(pods: Any, name: str) -> float:
    """When the user's pod was created (epoch seconds), as a watch sees it: Kubernetes itself tells whole seconds."""
    async with watch.Watch().stream(pods.list_namespaced_pod, NAMESPACE) as events:
        async for event in events:
            pod = event["object"]
            if event["type"] == "ADDED" and pod.metadata.labels.get("hub.jupyter.org/username") == name:
                return time.time()
    raise RuntimeError(f"the watch of {name}'s pod ended")


def _notebook_started(name: str) -> float:
    """When the notebook's first process wrote its first line (epoch seconds), by the node's clock."""
    line = _kubectl("logs", "-n", NAMESPACE, _pod_of(name), "-c", "notebook", "--timestamps", "--limit-bytes=100")
    instant = line.split()[0].removesuffix("Z")
    return datetime.datetime.fromisoformat(f"{instant[:26]}+00:00").timestamp()


def _pod_of(user: str) -> str:
    selector = f"--selector=hub.jupyter.org/username={user}"
    return _kubectl("get", "pods", "-n", NAMESPACE, selector, "-o", "jsonpath={.items[0].metadata.name}")


async def _starts(hubs: dict[str, Hub], rounds: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    await config.load_kube_config()
    async with client.ApiClient() as api:
        pods = client.CoreV1Api(api)
        for number in range(rounds + 1):
            for kind in KINDS:
                caller = hubs[kind][2][KINDS.index(kind)]  # never the same pod name twice at once
                watching = asyncio.create_task(_created(pods, caller["name"]))
                await asyncio.sleep(0.2 + random.random())  # kubelet looks once a second: out of step
                await _call(hubs[kind], "POST", caller)
                took = _notebook_started(caller["name"]) - await watching
                seconds[kind] += [took] if number else []  # the first round warms up
                memory = _agent_memory(caller["name"]) if kind == "dlaas" and number == rounds else {}
                await _call(hubs[kind], "DELETE", caller)
    return seconds, memory


def _agent_memory(user: str) -> dict[str, int]:
    """kB of the agent's first process: resident now, and at most."""
    script = "print(open('/proc/1/status').read())"
    status = _kubectl(
        "exec", "-n", NAMESPACE, _pod_of(user), "-c", "dlaas-agent", "--", "/usr/bin/python3", "-IS", "-c", script
    )
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {name: int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM")}


async def _together(hub: Hub) -> float:
    """Seconds until all users' servers, asked for at once, are there."""
    began = time.monotonic()
    await asyncio.gather(*(_call(hub, "POST", caller) for caller in hub[2]))
    took = time.monotonic() - began
    await asyncio.gather(*(_call(hub, "DELETE", caller) for caller in hub[2]))
    return took


def starts(rounds: int = 20) -> list[Row]:
    """One server after another, of both hubs in turn."""
    with _namespace(), scene(users=2) as made, _hub(made, "stock") as stock, _hub(made, "dlaas") as ours:
        seconds, memory = asyncio.run(_starts({"stock": stock, "dlaas": ours}, rounds))
    before, after = (statistics.median(seconds[kind]) for kind in KINDS)
    resident = memory["VmRSS"] / 1024
    return [
        Row(
            f"Pod created to notebook started, median of {rounds} starts in turn",
            f"{before:.2f} s",
            f"{after:.2f} s",
            f"+ {after - before:.2f} s",
            "<= + 1.0 s",
            after - before <= 1.0,
        ),
        Row("The agent in its pod: resident", "", f"{resident:.1f} MiB", "", "<= 24 MiB", resident <= 24),
    ]


def together(users: int = 30, rounds: int = 9) -> list[Row]:
    """Many users at once; also beside a sidecar that does nothing, which is what Kubernetes itself takes for one."""
    kinds = ("stock", SIDECAR, "dlaas")
    wall: dict[str, list[float]] = {kind: [] for kind in kinds}
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    with _namespace():
        for kind in kinds * rounds:
            with scene(users=users) as made, _hub(made, kind) as hub:  # a refresh token is good for one hub
                wall[kind].append(asyncio.run(_together(hub)))
                cpu[kind].append(hub[0].stop()["cpu_seconds"])
    what = f"{users} users start at once"
    return [
        _row(f"{what}: until all servers are there, median of {rounds}", wall, "stock", 1.15),
        _row("the same, baseline with an idle sidecar in each pod", wall, SIDECAR, 1.15),
        _row("the same, hub CPU (with the stop)", cpu, "stock", 1.3),
    ]


def _row(what: str, seconds: dict[str, list[float]], baseline: str, most: float) -> Row:
    before, after = (statistics.median(seconds[kind]) for kind in (baseline, "dlaas"))
    return Row(what, f"{before:.2f} s", f"{after:.2f} s", f"{after / before:.2f}", f"<= {most}", after <= most * before)


def agent_image(most_megabytes: float = 60) -> list[Row]:
    """The agent's image as `images/build` makes it: its compressed size, and whether one could install in it."""
    with tempfile.TemporaryDirectory(prefix="dlaas-bench-") as folder:
        made = {**os.environ, "IMAGES": "agent", "IMAGES_OUT": folder, "IMAGES_COMPRESSED": "no"}
        subprocess.run(["images/build"], env=made, check=True, stdout=subprocess.DEVNULL)
        archive = Path(folder) / "agent.tar"
        megabytes = len(gzip.compress(archive.read_bytes())) / 1e6
        with tarfile.open(archive) as image:
            layers = [entry.name for entry in image if entry.name.endswith(".tar")]
            names = []
            for layer in layers:
                with tarfile.open(fileobj=image.extractfile(layer)) as content:
                    names += content.getnames()
    tools = sorted(name for name in names if Path(name).name in ("pip", "gcc", "cc", "ld", "sh", "bash", "busybox"))
    met = megabytes <= most_megabytes and bool(names) and not tools
    ours = f"{megabytes:.1f} MB, {', '.join(tools) or 'no pip, compiler or shell'}"
    return [Row("The agent's image, compressed", "", ours, "", f"<= {most_megabytes:g} MB", met)]

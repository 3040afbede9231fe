"""A small Kubernetes API server over HTTP, with faults, and a spawner of a logged-in user that talks to it."""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hub_rig import Rig, rig
from jupyterhub import orm, roles
from jupyterhub.objects import Hub
from jupyterhub.user import User
from kubernetes_asyncio.config import kube_config
from kubespawner.clients import load_config

from jupyterhub_dlaas.hub import kube_watch
from jupyterhub_dlaas.hub.agents import AGENT_SCOPE
from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner

NAMESPACE = "jhub"
CATALOGUE = """
vo: escape
rucio_instances:
  escape: {rucio_host: "https://rucio.example.org", audience: rucio, mode: download}
storages:
  eulake: {type: eos, host_path: /var/eos, mount_path: /eos, audience: rucio, introspection: iam.example.org/userinfo}
  scratch: {type: scratch, host_path: /var/scratch, mount_path: /scratch}
  needed: {type: fuse, host_path: /var/needed, mount_path: /needed, required: true}
environments:
  - name: root
    image: registry.example.org/escape/root:1
    rucio: [escape]
    storages: [eulake, scratch]
    resources: {small: {cpu: 1, memory: 2G}}
  - {name: needy, image: "registry.example.org/escape/needy:1", storages: [needed]}
  - name: picky
    image: registry.example.org/escape/picky:1
    image_pull_policy: Always
    image_pull_secrets: [ours]
    node_selector: {gpu: "yes"}
    tolerations: [{key: gpu, operator: Exists}]
    priority_class: high
    resources: {large: {cpu: 8, memory: 32G, gpu: 2, guarantee: {cpu: 2, memory: 8G}}}
"""


class Cluster:
    """`fail(verb, kind, status, times)` makes requests fail; `away` ends every one; `react` plays the kubelet."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {"pods": {}, "secrets": {}, "events": {}}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.bodies: list[tuple[str, str, Any]] = []
        self.faults: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self.denied: set[tuple[str, str]] = set()
        self.version = {"major": "1", "minor": "34"}
        self.away = False
        self.react: Callable[[dict[str, Any]], None] = self.run
        self._revision = 100
        self._changed = asyncio.Event()
        self._log: list[tuple[int, str, dict[str, Any]]] = []
        self.url = ""

    # what a test says

    def fail(self, verb: str, kind: str, status: int, *, times: int = 1, message: str = "no") -> None:
        self.faults.setdefault((verb, kind), []).extend([(status, message)] * times)

    def run(self, pod: dict[str, Any]) -> None:
        """The pod is up at once."""
        running = {"running": {"startedAt": "2027-01-15T08:00:00Z"}}
        pod["status"] = {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "initContainerStatuses": [{"name": "dlaas-agent", "ready": True, "state": running}],
            "containerStatuses": [{"name": "notebook", "ready": True, "state": running}],
        }

    def wait(self, pod: dict[str, Any]) -> None:
        """The pod goes on waiting."""

    def put(self, kind: str, thing: dict[str, Any]) -> None:
        self._revision += 1
        thing = copy.deepcopy(thing)
        name = thing["metadata"]["name"]
        change = "MODIFIED" if name in self.objects[kind] else "ADDED"
        thing["metadata"].update(resourceVersion=str(self._revision), namespace=NAMESPACE)
        thing["metadata"].setdefault("uid", str(uuid.uuid4()))
        self.objects[kind][name] = thing
        self._tell(change, kind, thing)

    def status(self, pod: str, **status: Any) -> None:
        thing = self.objects["pods"][pod]
        self.put("pods", {**thing, "status": {**thing["status"], **status}})

    def event(self, pod: str, reason: str, message: str, container: str = "") -> None:
        about = {"kind": "Pod", "name": pod, "uid": self.objects["pods"][pod]["metadata"]["uid"]}
        if container:
            about["fieldPath"] = f"spec.containers{{{container}}}"
        thing = {"metadata": {"name": f"{pod}.{uuid.uuid4().hex}"}, "involvedObject": about, "type": "Normal"}
        self.put("events", {**thing, "reason": reason, "message": message, "lastTimestamp": "2027-01-15T08:00:00Z"})

    def remove(self, kind: str, name: str) -> dict[str, Any]:
        """With everything that it owns, as the garbage collector does."""
        thing = self.objects[kind].pop(name)
        self._revision += 1
        self._tell("DELETED", kind, thing)
        for secret in list(self.objects["secrets"].values()):
            if any(owner["uid"] == thing["metadata"]["uid"] for owner in secret["metadata"].get("ownerReferences", ())):
                del self.objects["secrets"][secret["metadata"]["name"]]
        return thing

    def left(self) -> list[str]:
        return [*self.objects["pods"], *self.objects["secrets"]]

    async def until(self, true: Callable[[], Any]) -> None:
        for _ in range(1000):
            if true():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("never came true")

    # the server

    def _tell(self, change: str, kind: str, thing: dict[str, Any]) -> None:
        self._log.append((self._revision, kind, {"type": change, "object": copy.deepcopy(thing)}))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._faults])
        base = f"/api/v1/namespaces/{NAMESPACE}/{{kind}}"
        app.router.add_get("/version/", self._version)
        app.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review)
        app.router.add_get(base, self._list)
        app.router.add_post(base, self._create)
        app.router.add_get(base + "/{name}", self._read)
        app.router.add_delete(base + "/{name}", self._delete)
        return app

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        kind, verb = request.match_info.get("kind", "other"), request.method.lower()
        if verb == "get" and "kind" in request.match_info and "name" not in request.match_info:
            verb = "list"
        self.requests[verb, kind] += 1
        if self.away and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        if self.faults.get((verb, kind)):
            return _status(*self.faults[verb, kind].pop(0))
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response(self.version)

    async def _review(self, request: web.Request) -> web.Response:
        asked = (await request.json())["spec"]["resourceAttributes"]
        self.bodies.append(("review", asked.get("namespace", ""), asked))
        return web.json_response(
            {"status": {"allowed": (asked["verb"], asked["resource"]) not in self.denied}}, status=201
        )

    async def _list(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if request.query.get("watch") not in ("true", "True"):
            items = list(self.objects[kind].values())
            return web.json_response({"metadata": {"resourceVersion": str(self._revision)}, "items": items})
        answer = web.StreamResponse()
        await answer.prepare(request)
        seen = int(request.query["resource_version" if "resource_version" in request.query else "resourceVersion"])
        while not self.away:
            changed = self._changed
            for revision, about, change in list(self._log):
                if about == kind and revision > seen:
                    await answer.write(json.dumps(change).encode() + b"\n")
            seen = self._revision
            await changed.wait()
        return answer

    async def _create(self, request: web.Request) -> web.Response:
        kind, body = request.match_info["kind"], await request.json()
        self.bodies.append(("create", kind, copy.deepcopy(body)))
        if body["metadata"]["name"] in self.objects[kind]:
            return _status(409, "already exists")
        if kind == "pods":
            body["status"] = {"phase": "Pending"}
        self.put(kind, body)
        answer = web.json_response(self.objects[kind][body["metadata"]["name"]], status=201)
        if kind == "pods":
            self.react(body)
            self.put(kind, {**body, "metadata": self.objects[kind][body["metadata"]["name"]]["metadata"]})
        return answer

    async def _read(self, request: web.Request) -> web.Response:
        thing = self.objects[request.match_info["kind"]].get(request.match_info["name"])
        return _status(404, "not found") if thing is None else web.json_response(thing)

    async def _delete(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], request.match_info["name"]
        if name not in self.objects[kind]:
            return _status(404, "not found")
        options = json.loads(await request.text() or "{}")
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted not in (None, self.objects[kind][name]["metadata"]["uid"]):
            return _status(409, "the UID in the precondition does not match")
        return web.json_response({"metadata": self.remove(kind, name)["metadata"]})


def _status(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message, "code": status}, status=status)


@asynccontextmanager
async def cluster(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """The API server, and this process's Kubernetes configuration that names it."""
    made = Cluster()
    runner = web.AppRunner(made._application(), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    file = folder / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": made.url}}],
                "users": [{"name": "hub", "user": {"token": "hub"}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "hub"}}],
                "current-context": "fake",
            }
        )
    )
    patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    load_config.cache_clear()
    DLaaSSpawner.cluster = None
    try:
        yield made
    finally:
        made.away = True
        made._changed.set()
        await DLaaSSpawner._stop_all_reflectors()
        load_config.cache_clear()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        await runner.cleanup()


class Scene:
    """A hub with a catalogue, a user who has logged in, and the cluster."""

    def __init__(self, made: Rig, kube: Cluster, user: Any) -> None:
        self.rig, self.cluster, self.user = made, kube, user

    @property
    def spawner(self) -> Any:
        return self.user.spawners[""]

    async def start(self, environment: str = "root") -> str:
        """As JupyterHub does it."""
        self.spawner.clear_state()
        self.spawner.api_token = "a-server-token-of-jupyterhub"
        await self.spawner._run_apply_user_options({"environment": f"escape/{environment}"})
        return str(await self.spawner.start())

    def steps(self) -> list[str]:
        return [step["message"] for step in self.spawner.steps.events]

    def tokens(self) -> int:
        return sum("agent" in (row.note or "") for row in self.rig.db.query(orm.APIToken).all())


@asynccontextmanager
async def scene(folder: Path, patch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[Scene]:
    """`settings` are KubeSpawner's, or ours."""
    (folder / "catalogue.yaml").write_text(CATALOGUE)
    vos = {"escape": {"groups": {"escape"}, "trusted": True}}
    patch.setattr(kube_watch, "_LOOK_SECONDS", 0.01)
    async with cluster(folder, patch) as kube:
        async with rig(hub_catalogue=str(folder / "catalogue.yaml"), hub_vos=vos) as made:
            values = {"namespace": NAMESPACE, "uid": 1000, "agent_image": "registry.example.org/agent:1", **settings}
            values.setdefault("cmd", ["jupyterhub-singleuser"])
            made.config.DLaaSSpawner.update(values)
            made.user()  # makes the row
            made.db.add(orm.OAuthClient(identifier="jupyterhub"))
            roles.create_role(made.db, {"name": "user", "scopes": ["self", f"{AGENT_SCOPE}!user"]})
            roles.grant_role(made.db, orm.User.find(made.db, "alice"), "user")
            user = User(
                orm.User.find(made.db, "alice"),
                {
                    "authenticator": made.authenticator,
                    "config": made.config,
                    "spawner_class": DLaaSSpawner,
                    "hub": Hub(ip="10.0.0.1", port=8081, base_url="/hub/"),
                },
                made.db,
            )
            made._users["alice"] = user
            await made.login()
            yield Scene(made, kube, user)

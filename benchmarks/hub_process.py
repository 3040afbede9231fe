"""A real JupyterHub with many users, ours or stock, in a process of its own that tells what it used.

`python -m benchmarks.hub_process SPEC` with a JSON file; prints one JSON line when it is ready and, after SIGTERM, one
with what it used. Between the two SIGUSR1 starts counting CPU and event-loop stalls afresh, and SIGUSR2 moves the clock
of our hub on by one token lifetime (a stock hub looks at no clock).

The servers of its users are one line in the hub's memory and database each and answer nothing: what is measured is the
hub. The proxy is none, requests go to the hub itself, for both kinds alike.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.objects import Server
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado.web import create_signed_value
from traitlets.config import Config

import jupyterhub_dlaas
from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.hub.session import Held, Session, new_generation
from jupyterhub_dlaas.hub.spawner_common import DLaaSSpawnerMixin
from jupyterhub_dlaas.oidc.clock import ManualClock
from jupyterhub_dlaas.oidc.secret import Secret

CLOCK = ManualClock(tick=True)

CATALOGUE = """\
vo: escape
rucio_instances:
  escape: {display_name: ESCAPE, rucio_host: "https://rucio.example.org", audience: rucio, mode: download}
environments:
  - {name: small, display_name: Small, image: "IMAGE", rucio: [escape]}
"""


class NoProxy(Proxy):
    """Routes in memory only."""

    should_start = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.routes: dict[str, dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        return self.routes


class PlainSpawner(Spawner):
    """A server that is said to run."""

    async def start(self) -> str:
        return "http://127.0.0.1:9"

    async def poll(self) -> None:
        return None

    async def stop(self, now: bool = False) -> None:
        return None


class DataLakeSpawner(DLaaSSpawnerMixin, PlainSpawner):
    """The same with the data lake's token path."""


class Watch:
    """CPU seconds of this process and the longest time that its event loop did nothing else."""

    TICK_SECONDS = 0.005

    def reset(self) -> None:
        self.cpu, self.stalls = _cpu(), [0.0]

    async def run(self) -> None:
        self.reset()
        while True:
            before = time.perf_counter()
            await asyncio.sleep(self.TICK_SECONDS)
            self.stalls.append(time.perf_counter() - before - self.TICK_SECONDS)

    def figures(self) -> dict[str, float]:
        return {"cpu_seconds": _cpu() - self.cpu, "max_stall_ms": 1000 * max(self.stalls)}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def configuration(spec: dict[str, Any], folder: Path) -> Config:
    c = Config()
    c.JupyterHub.hub_bind_url = c.JupyterHub.bind_url = f"http://127.0.0.1:{spec['port']}"
    c.JupyterHub.db_url = f"sqlite:///{folder / 'hub.sqlite'}"
    c.JupyterHub.cookie_secret = bytes.fromhex(spec["cookie_secret"])
    c.JupyterHub.proxy_class = NoProxy
    (folder / "none.py").touch()
    c.JupyterHub.config_file = str(folder / "none.py")
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.log_level = logging.ERROR
    c.JupyterHub.last_activity_interval = 3600
    c.CryptKeeper.keys = [secrets.token_bytes(32)]
    issuer = spec["issuer_url"]
    c.OAuthenticator.client_id, c.OAuthenticator.client_secret = "dlaas", "dlaas-secret"
    c.OAuthenticator.oauth_callback_url = f"http://127.0.0.1:{spec['port']}/hub/oauth_callback"
    c.OAuthenticator.allow_all = True
    if spec["kind"] == "stock":
        c.JupyterHub.authenticator_class = "generic-oauth"
        c.JupyterHub.spawner_class = PlainSpawner
        c.GenericOAuthenticator.authorize_url = issuer + "authorize"
        c.GenericOAuthenticator.token_url = issuer + "token"
        c.GenericOAuthenticator.userdata_url = issuer + "userinfo"
        if spec["ca_file"]:
            c.GenericOAuthenticator.http_request_kwargs = {"ca_certs": spec["ca_file"]}
        c.GenericOAuthenticator.username_claim = "preferred_username"
        c.GenericOAuthenticator.scope = ["openid", "profile", "email", "offline_access"]
        c.GenericOAuthenticator.enable_auth_state = True
        c.Authenticator.auth_refresh_age = spec["auth_refresh_age"]
    else:
        jupyterhub_dlaas.setup(c)
        c.JupyterHub.authenticator_class = "dlaas"
        c.JupyterHub.spawner_class = DataLakeSpawner
        c.DLaaSConfig.clock = CLOCK
        c.IAMAuthenticator.issuer_url = issuer
        c.IAMAuthenticator.ca_file = spec["ca_file"] or ""
        c.IAMAuthenticator.audiences = {key: {} for key in spec["audiences"]}
        if spec["audiences"]:
            image = (spec.get("cluster") or {}).get("image", "registry.example.org/escape/small:1")
            (folder / "catalogue.yaml").write_text(CATALOGUE.replace("IMAGE", image))
            c.DLaaSConfig.catalogue = str(folder / "catalogue.yaml")
            c.DLaaSConfig.vos = {"escape": {"groups": {"escape"}, "trusted": True}}
        if spec.get("auth_refresh_age"):
            c.Authenticator.auth_refresh_age = spec["auth_refresh_age"]
    if spec.get("cluster"):
        _in_cluster(c, spec, spec["cluster"])
    return c


def _in_cluster(c: Config, spec: dict[str, Any], cluster: dict[str, str]) -> None:
    """Servers are pods, which answer HTTP with the smallest server that Python has."""
    from kubespawner import KubeSpawner

    from jupyterhub_dlaas.hub.spawner_kube import DLaaSSpawner

    c.JupyterHub.hub_bind_url = c.JupyterHub.bind_url = f"http://{cluster['host']}:{spec['port']}"
    c.JupyterHub.spawner_class = KubeSpawner if spec["kind"] == "stock" else DLaaSSpawner
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 300}
    c.KubeSpawner.namespace, c.KubeSpawner.image = cluster["namespace"], cluster["image"]
    c.KubeSpawner.cmd = ["sh", "-c", "echo started; exec python3 -m http.server 8888"]
    c.KubeSpawner.uid, c.KubeSpawner.fs_gid = 1000, 100
    c.KubeSpawner.working_dir = "/tmp"
    c.KubeSpawner.delete_grace_period = 0
    c.KubeSpawner.start_timeout = 300
    c.DLaaSSpawner.agent_image = cluster["agent_image"]
    if cluster.get("idle_sidecar"):
        sleep = ["/usr/bin/python3", "-IS", "-c", "import time; time.sleep(3600)"]
        idle = {"name": "idle", "image": cluster["agent_image"], "restartPolicy": "Always", "command": sleep}
        c.KubeSpawner.init_containers = [idle]


async def populate(app: JupyterHub, spec: dict[str, Any], folder: Path) -> list[dict[str, str]]:
    """Users who are logged in, with a running server where asked; what they call the hub with."""
    sessions: dict[str, Any] = json.loads(Path(spec["sessions"]).read_text()) if spec.get("sessions") else {}
    group = orm.Group(name="escape")
    app.db.add(group)
    role = orm.Role.find(app.db, "user")
    for name in sessions:
        app.db.add(orm.User(name=name, groups=[group], roles=[role]))
    app.db.commit()
    callers, now = [], time.time()
    for name, tokens in sessions.items():
        user = app.users[name]
        await user.save_auth_state(_auth_state(spec, tokens, now))
        caller = {"name": name, "token": user.new_api_token(), "cookie": _cookie(spec, user)}
        if spec["running"]:
            spawner = user.spawners[""]
            row = orm.Server(
                proto="http", ip="127.0.0.1", port=9, base_url=f"/user/{name}/", cookie_name=f"jupyterhub-user-{name}"
            )
            spawner.orm_spawner.server = row
            spawner.server = Server(orm_server=row)
            app.db.commit()
            if spec["kind"] == "dlaas":
                spawner.places = Places(f"/run/dlaas/{name}", f"/run/dlaas/{name}-cache")
                caller["agent_token"] = (await spawner.open_data_lake()).reveal()
        elif spec["kind"] == "dlaas":
            # auth_state as our hub itself writes it, with what userinfo says.
            await app.authenticator.dlaas.keeper.renew(user, force=True)
        callers.append(caller)
    return callers


def _auth_state(spec: dict[str, Any], tokens: dict[str, Any], now: float) -> dict[str, Any]:
    if spec["kind"] == "stock":
        kept = {key: tokens[key] for key in ("access_token", "refresh_token", "id_token")}
        user = {"sub": tokens["sub"]}
        return {**kept, "scope": tokens["scope"].split(), "token_response": tokens, "oauth_user": user}
    issued, ends = now - spec["age_seconds"], now - spec["age_seconds"] + spec["token_seconds"]
    held = Held(Secret(tokens["access_token"]), ends, issued)
    return Session(
        generation=new_generation(),
        subject=tokens["sub"],
        issuer=spec["issuer_url"],
        access=held,
        refresh_token=Secret(tokens["refresh_token"]),
        refresh_expires_at=None,
        checked_at=issued,
        # As old as the session, with a token of real size: what it says does not matter to the hub.
        tokens={key: Held(Secret(tokens["access_token"]), ends, issued) for key in spec["audiences"]},
        others={"oauth_user": {"sub": tokens["sub"], "preferred_username": "x", "groups": ["escape"]}},
    ).to_auth_state()


def _cookie(spec: dict[str, Any], user: Any) -> str:
    name = "jupyterhub-hub-login"
    return f"{name}=" + create_signed_value(bytes.fromhex(spec["cookie_secret"]), name, user.cookie_id).decode()


def outcome(app: JupyterHub, spec: dict[str, Any], started: float) -> dict[str, Any]:
    """How many users' tokens were renewed, and how long before their end the latest of them."""
    if spec["kind"] == "stock" or not spec["audiences"]:
        return {}
    ends = started - spec["age_seconds"] + spec["token_seconds"]
    renewed = [
        min(held.renewed_at for held in session.tokens.values())
        for user in app.users.values()
        if (session := app.authenticator.dlaas.keeper.session(user.name)) is not None and session.tokens
    ]
    in_time = [at for at in renewed if started < at < ends]
    return {"renewed_in_time": len(in_time), "closest_call_seconds": ends - max(in_time, default=ends)}


async def main(spec: dict[str, Any]) -> None:
    folder = Path(spec["folder"])
    app = JupyterHub.instance(config=configuration(spec, folder))
    await app.initialize([])
    await app.start()
    loop, stopped, watch = asyncio.get_running_loop(), asyncio.Event(), Watch()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, watch.reset)
    loop.add_signal_handler(signal.SIGUSR2, CLOCK.advance, spec["token_seconds"] + 1)
    started = time.time()
    callers = await populate(app, spec, folder)
    path = folder / "callers.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(callers, file)
    gc.collect()
    watching = asyncio.create_task(watch.run())
    print(json.dumps({"callers": str(path)}), flush=True)
    await stopped.wait()
    print(json.dumps({**watch.figures(), **outcome(app, spec, started)}), flush=True)
    watching.cancel()
    os._exit(0)  # nothing to clean up: its folder goes


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))

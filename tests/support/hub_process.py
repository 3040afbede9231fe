"""A hub in a process of its own, that can be stopped in the middle of anything and killed."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

from support.hub import TINY_SERVER, RunningHub
from support.ports import free_port
from support.scene import until

_CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from support.scene import base_config
c.merge(base_config(Path({folder!r}), {issuer!r}, {client_secret!r}))
c.CryptKeeper.keys = [bytes.fromhex({crypt_key!r})]
c.JupyterHub.bind_url = {url!r}
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret = bytes.fromhex({cookie_secret!r})
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.auth_token = {proxy_token!r}
c.ConfigurableHTTPProxy.should_start = False
c.Spawner.cmd = {cmd!r}
"""


class HubProcess(RunningHub):
    """`RunningHub` from outside: `app` is None, so what asks the hub's memory cannot be used. Its time is the real one.

    `await hub.kill()` is `kill -9`; its servers, agents and proxy run on; `await hub.start()` starts it again.
    """

    def __init__(self, folder: Path, issuer_url: str, client_secret: str) -> None:
        self.folder = folder
        self.port, self.hub_port, self.proxy_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "hub.log"
        self.app = None
        self._proxy = None
        self._proxy_token = secrets.token_hex(32)
        self.known_secrets = {client_secret}
        self.every.append(self)
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "hub.py").write_text(
            _CONFIG.format(
                tests=str(Path(__file__).parents[1]),
                folder=str(folder),
                issuer=issuer_url,
                client_secret=client_secret,
                crypt_key=secrets.token_hex(32),
                cookie_secret=secrets.token_hex(32),
                url=self.url,
                hub_port=self.hub_port,
                proxy_port=self.proxy_port,
                proxy_token=self._proxy_token,
                cmd=TINY_SERVER,
            )
        )

    async def start(self) -> None:
        """Returns when the hub answers through its proxy."""
        await self._proxy_answers()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(self.folder / "hub.py"), "--debug"],
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                start_new_session=True,
            )
        await until(self._answers, 60, what="the hub answers")

    async def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log_file.read_text()[-3000:]
        try:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{self.url}/hub/health") as answer:
                    return answer.status == 200
        except aiohttp.ClientError:
            return False

    def freeze(self) -> None:
        """It does nothing more, whatever arrives."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def stop(self, *, servers: bool = False) -> None:
        """Ends it, whatever its state."""
        if self.process is not None and self.process.poll() is None:
            await self.kill()

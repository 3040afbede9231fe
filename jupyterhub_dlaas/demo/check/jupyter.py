"""A running server as its JupyterLab uses it: a terminal, a kernel, and the Rucio panel's own requests."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import Any
from urllib.parse import urlencode

import aiohttp

from jupyterhub_dlaas.demo.check.web import Browser, Failed

_COLOURS = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9AB]|[=>])")


class Server:
    """One user's server below `base` (`/user/alice/`)."""

    def __init__(self, browser: Browser, base: str) -> None:
        self._browser, self.base = browser, base
        self._terminal: aiohttp.ClientWebSocketResponse | None = None
        self._kernel: aiohttp.ClientWebSocketResponse | None = None

    async def run(self, command: str, *, seconds: float = 120) -> tuple[str, int]:
        """A command in the terminal: what it printed, and its exit code."""
        terminal = self._terminal = self._terminal or await self._open_terminal()
        mark = uuid.uuid4().hex
        line = f"printf '\\n%s\\n' {mark}; {{ {command} ; }} 2>&1; printf '\\n%s %s\\n' {mark} $?"
        await terminal.send_json(["stdin", line + "\r"])
        ended = re.compile(rf"^{mark}\r?\n(.*)^{mark} (\d+)", re.MULTILINE | re.DOTALL)
        printed = ""
        try:
            async with asyncio.timeout(seconds):
                while not (found := ended.search(_COLOURS.sub("", printed))):
                    kind, *content = await _receive(terminal, "the terminal")
                    printed += content[0] if kind == "stdout" and content else ""
        except TimeoutError:
            said = _COLOURS.sub("", printed)[-400:]
            raise Failed(f"`{command}` did not end within {seconds:g} s; so far: {said}") from None
        return found[1].replace("\r", "").strip(), int(found[2])

    async def execute(self, code: str, *, seconds: float = 120) -> str:
        """Code in the Python kernel: what it printed. Failed with its error."""
        kernel = self._kernel = self._kernel or await self._open_kernel()
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "check", "username": "check"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header | {"version": "5.3"}, "parent_header": {}, "metadata": {}, "content": content}
        await kernel.send_json({**message, "channel": "shell", "buffers": []})
        printed, problem = "", ""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    answer = await _receive(kernel, "the kernel")
                    if answer.get("parent_header", {}).get("msg_id") != header["msg_id"]:
                        continue
                    kind, content = answer["header"]["msg_type"], answer["content"]
                    if kind == "stream" and content["name"] == "stdout":
                        printed += content["text"]
                    elif kind == "error":
                        problem = f"{content['ename']}: {content['evalue']}"
                    elif kind == "status" and content["execution_state"] == "idle":
                        break
        except TimeoutError:
            raise Failed(f"the kernel did not finish within {seconds:g} s") from None
        if problem:
            raise Failed(f"the kernel says {problem}")
        return printed.strip()

    async def panel(self, path: str, body: Any = None, **query: str) -> Any:
        """A request of the Rucio panel."""
        address = f"{self.base}rucio-jupyterlab/{path}" + (f"?{urlencode(query)}" if query else "")
        answer = await self._browser.api("GET" if body is None else "POST", address, body)
        if isinstance(answer, dict) and answer.get("success") is False:
            raise Failed(f"the Rucio panel says: {answer.get('exception_message') or answer.get('error')}")
        return answer

    async def close(self) -> None:
        """Hangs up; terminal and kernel go with the server."""
        for socket in (self._terminal, self._kernel):
            if socket is not None:
                await socket.close()

    async def _open_terminal(self) -> aiohttp.ClientWebSocketResponse:
        made = await self._browser.api("POST", f"{self.base}api/terminals")
        socket = await self._connect(f"{self.base}terminals/websocket/{made['name']}")
        await socket.send_json(["set_size", 50, 250, 800, 2000])
        return socket

    async def _open_kernel(self) -> aiohttp.ClientWebSocketResponse:
        made = await self._browser.api("POST", f"{self.base}api/kernels", {"name": "python3"})
        return await self._connect(f"{self.base}api/kernels/{made['id']}/channels")

    async def _connect(self, path: str) -> aiohttp.ClientWebSocketResponse:
        url = self._browser.home + path
        try:
            return await self._browser.session.ws_connect(url, headers=self._browser.headers(url), heartbeat=20)
        except aiohttp.ClientError as error:
            raise Failed(f"{url} cannot be opened: {error}") from error


async def _receive(socket: aiohttp.ClientWebSocketResponse, what: str) -> Any:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise Failed(f"{what} hung up ({message.type.name.lower()})")
    return json.loads(message.data)

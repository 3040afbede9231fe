"""A running server as its JupyterLab uses it: a terminal, a kernel, and the Rucio panel's own requests."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp

from jupyterhub_dlaas.demo.check.web import Browser, Failed

_COLOURS = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9AB]|[=>])")


class Server:
    """One user's server below `base` (`/user/alice/`)."""

    def __init__(self, browser: Browser, base: str) -> None:
        self._browser, self.base = browser, base
        self._terminal = self._kernel = ""  # both live on in the server between two calls

    async def run(self, command: str, *, seconds: float = 120) -> tuple[str, int]:
        """A command in the terminal: what it printed, and its exit code."""
        self._terminal = self._terminal or (await self._browser.api("POST", f"{self.base}api/terminals"))["name"]
        mark = uuid.uuid4().hex
        line = f"printf '\\n%s\\n' {mark}; {{ {command} ; }} 2>&1; printf '\\n%s %s\\n' {mark} $?"
        ended = re.compile(rf"^{mark}\r?\n(.*)^{mark} (\d+)", re.MULTILINE | re.DOTALL)
        printed = ""
        try:
            async with asyncio.timeout(seconds), self._connect(f"terminals/websocket/{self._terminal}") as terminal:
                await terminal.send_json(["set_size", 50, 250, 800, 2000])
                await terminal.send_json(["stdin", line + "\r"])
                while not (found := ended.search(_COLOURS.sub("", printed))):
                    kind, *content = await _receive(terminal, "the terminal")
                    printed += content[0] if kind == "stdout" and content else ""
        except TimeoutError:
            said = _COLOURS.sub("", printed)[-400:]
            raise Failed(f"`{command}` did not end within {seconds:g} s; so far: {said}") from None
        return found[1].replace("\r", "").strip(), int(found[2])

    async def execute(self, code: str, *, seconds: float = 120) -> str:
        """Code in the Python kernel: what it printed. Failed with its error."""
        self._kernel = self._kernel or (await self._browser.api("POST", f"{self.base}api/kernels", {}))["id"]
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "check", "username": "check"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header | {"version": "5.3"}, "parent_header": {}, "metadata": {}, "content": content}
        printed, problem = "", ""
        try:
            async with asyncio.timeout(seconds), self._connect(f"api/kernels/{self._kernel}/channels") as kernel:
                await kernel.send_json({**message, "channel": "shell", "buffers": []})
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

    @asynccontextmanager
    async def _connect(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        url = f"{self._browser.home}{self.base}{path}"
        try:
            async with self._browser.session.ws_connect(url, headers=self._browser.headers(url)) as socket:
                yield socket
        except aiohttp.ClientError as error:
            raise Failed(f"{url} cannot be used: {error}") from error


async def _receive(socket: aiohttp.ClientWebSocketResponse, what: str) -> Any:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise Failed(f"{what} hung up ({message.type.name.lower()})")
    return json.loads(message.data)

"""A proxy in front of a real server that loses, delays or spoils chosen requests, and passes all others on."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import requests


@dataclass
class Fault:
    """What happens to the first `times` requests whose "METHOD /path" matches `pattern`, but for the first `after`.

    A number: that status instead of an answer. hang: no answer, and the server never hears of it. hang-after: the
    server does as asked, and its answer is lost. `met` is set once it happened.
    """

    pattern: str
    what: int | Literal["hang", "hang-after"]
    times: int = 1_000_000
    after: int = 0
    met: threading.Event = field(default_factory=threading.Event)


class FaultyProxy(ThreadingHTTPServer):
    """`faults` may be changed at any time; `requests` has what came, as "METHOD /path"."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.released = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, pattern: str, what: int | Literal["hang", "hang-after"], **limits: int) -> Fault:
        """One more fault; `limits` are its `times` and `after`."""
        fault = Fault(pattern, what, **limits)
        self.faults.append(fault)
        return fault

    def next_fault(self, line: str) -> Fault | None:
        """The fault for this request, counted."""
        with self.lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, line):
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """A running proxy, ended at the end; what hangs is let go then."""
    proxy = FaultyProxy(target)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        proxy.shutdown()
        proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.next_fault(f"{self.command} {self.path}")
        if fault and isinstance(fault.what, int):
            self._answer(fault.what, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>")
            fault.met.set()
            return
        if fault and fault.what == "hang":
            fault.met.set()
            self.server.released.wait(60)
            return
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                self.command,
                f"{self.server.target}{self.path}",
                data=body,
                headers={name: value for name, value in self.headers.items() if name not in ("Connection",)},
                allow_redirects=False,
                timeout=60,
            )
        if fault:
            fault.met.set()
            self.server.released.wait(60)
            return
        left_out = ("content-length", "transfer-encoding", "connection", "content-encoding")
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in left_out}
        self._answer(answer.status_code, headers, answer.content)

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self._pass_on()

    def do_DELETE(self) -> None:
        self._pass_on()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass

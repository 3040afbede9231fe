"""A shopping basket that speaks as ESAP's REST service does: paged profiles, their items JSON written as a string."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

PATH = "/esap-api/accounts/user-profiles/"


class BasketService(ThreadingHTTPServer):
    """`items` are handed out `page_size` at a time to whoever presents one of `tokens`.

    `behaviour`: ok, hang, endless, or a number: that HTTP status. `elsewhere`: where the second page is said to be;
    `redirect`: where a first request is sent; `body`: an answer in place of the pages. `seen`: Authorization headers
    and queries, in order.
    """

    daemon_threads = True

    def __init__(self, items: Sequence[Any] = (), tokens: Sequence[str] = ("letmein",), page_size: int = 2) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.items, self.tokens, self.page_size = list(items), set(tokens), page_size
        self.behaviour: str | int = "ok"
        self.elsewhere = ""
        self.redirect = ""
        self.body = ""
        self.before_answer: Any = None
        self.seen: list[tuple[str | None, dict[str, list[str]]]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


def entry(**data: Any) -> dict[str, Any]:
    """An item as ESAP keeps it."""
    return {"id": time.time_ns(), "item_data": json.dumps(data)}


@contextmanager
def basket_service(items: Sequence[Any] = (), **settings: Any) -> Iterator[BasketService]:
    """A running service, ended at the end."""
    service = BasketService(items, **settings)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.released.set()
        service.shutdown()
        service.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: BasketService

    def do_GET(self) -> None:
        service, url = self.server, urlsplit(self.path)
        query = parse_qs(url.query)
        service.seen.append((self.headers.get("Authorization"), query))
        if service.before_answer:
            service.before_answer()
        if service.behaviour == "hang":
            service.released.wait(30)
        elif isinstance(service.behaviour, int):
            self._answer(service.behaviour, {"detail": "no"})
        elif service.redirect and "redirected" not in query:
            self._answer(302, {}, {"Location": service.redirect})
        elif url.path != PATH:
            self._answer(404, {"detail": "Not found."})
        elif not self._is_known(query):
            self._answer(401, {"detail": "Authentication credentials were not provided."})
        elif service.body:
            self._answer(200, service.body)
        else:
            self._answer(200, self._page(query))

    def _is_known(self, query: Mapping[str, list[str]]) -> bool:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return given in self.server.tokens or (not self.server.tokens and "user_name" in query)

    def _page(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        service, size = self.server, self.server.page_size
        number = int(query.get("page", ["1"])[0])
        endless = service.behaviour == "endless"
        more = endless or number * size < len(service.items)
        asked = urlencode({**query, "page": number if endless else number + 1}, doseq=True)
        following = service.elsewhere or f"{service.url.rstrip('/')}{PATH}?{asked}"
        return {
            "count": 1,
            "next": following if more else None,
            "previous": None,
            "results": [{"user_name": "alice", "shopping_cart": service.items[(number - 1) * size : number * size]}],
        }

    def _answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass

"""Kubernetes' API server on its bad days: passes everything on to the real one, but for the faults that are set.

Requests come on port 8080. On loopback, port 8081, `PUT /faults` sets the faults and answers with those before: a
list of objects with `pattern` (searched in "METHOD /path?query"), `times` that are left (for ever, where there are
none) and what happens to such a request:

seconds: it is passed on so much later.
status: it is answered with this status, and the API server never hears of it.
lost: the API server does as asked, and its answer never arrives.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

API_SERVER = "https://kubernetes.default.svc"
CERTIFICATES = "/etc/api-server/ca.crt"
OF_ONE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}

faults: list[dict[str, Any]] = []
upstream = web.AppKey("upstream", ClientSession)


def next_fault(line: str) -> dict[str, Any]:
    """The first fault for this request, counted; {} when there is none."""
    for fault in faults:
        left = fault.get("times", 1)
        if left and re.search(fault["pattern"], line):
            if "times" in fault:
                fault["times"] = left - 1
            return fault
    return {}


async def pass_on(request: web.Request) -> web.StreamResponse:
    fault = next_fault(f"{request.method} {request.path_qs}")
    await asyncio.sleep(fault.get("seconds", 0))
    if "status" in fault:
        body = {"kind": "Status", "apiVersion": "v1", "code": fault["status"], "message": "a bad day"}
        return web.json_response(body, status=fault["status"], headers={"Retry-After": "1"})
    headers = {name: value for name, value in request.headers.items() if name.lower() not in OF_ONE_CONNECTION}
    body = await request.read()
    async with request.app[upstream].request(
        request.method, API_SERVER + request.raw_path, data=body or None, headers=headers
    ) as answer:
        if "lost" in fault:
            assert request.transport is not None
            await answer.read()
            request.transport.abort()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in OF_ONE_CONNECTION}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        async for part in answer.content.iter_any():  # as it comes: a watch has no end
            await response.write(part)
        return response


async def set_faults(request: web.Request) -> web.Response:
    before = list(faults)
    faults[:] = await request.json()
    return web.json_response(before)


async def main() -> None:
    requests, control = web.Application(client_max_size=2**24), web.Application()
    requests.router.add_route("*", "/{path:.*}", pass_on)
    control.router.add_put("/faults", set_faults)
    connector = TCPConnector(ssl=ssl.create_default_context(cafile=CERTIFICATES), limit=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(None), auto_decompress=False) as session:
        requests[upstream] = session
        for app, host, port in ((requests, "0.0.0.0", 8080), (control, "127.0.0.1", 8081)):
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

"""A load of GET requests over kept-alive connections, in a process of its own and too lean to be what is measured.

Reads one JSON document from standard input, prints one: requests per second, latencies in milliseconds, statuses.
`{"port": 8081, "requests": [["/hub/health", {"Authorization": "..."}], ...], "connections": 20, "over_seconds": 0}`
With `over_seconds` the requests start evenly spread over that time, otherwise as fast as the connections take them.
`{"port": ..., "probe": "/hub/health", "every_seconds": 0.02, "for_seconds": 60}` asks for one page again and again.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, headers: dict[str, str]) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._streams
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{lines}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if "content-length" in fields:
            await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection", "").lower() == "close":
            writer.close()
            self._streams = None
        return int(head[0].split()[1])


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def load(spec: dict[str, Any]) -> tuple[list[float], Counter[int], float]:
    queue = list(enumerate(spec["requests"]))[::-1]
    gap = spec.get("over_seconds", 0) / max(1, len(queue))
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    started = time.perf_counter()

    async def worker() -> None:
        connection = Connection(spec["port"])
        while queue:
            number, (path, headers) = queue.pop()
            await asyncio.sleep(max(0.0, started + number * gap - time.perf_counter()))
            before = time.perf_counter()
            statuses[await connection.get(path, headers)] += 1
            latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(worker() for _ in range(spec["connections"])))
    return latencies, statuses, time.perf_counter() - started


async def probe(spec: dict[str, Any]) -> tuple[list[float], Counter[int], float]:
    connection, latencies, statuses = Connection(spec["port"]), [], Counter[int]()
    started = time.perf_counter()
    while (before := time.perf_counter()) < started + spec["for_seconds"]:
        statuses[await connection.get(spec["probe"], {})] += 1
        latencies.append(time.perf_counter() - before)
        await asyncio.sleep(spec["every_seconds"])
    return latencies, statuses, time.perf_counter() - started


if __name__ == "__main__":
    spec = json.load(sys.stdin)
    latencies, statuses, seconds = asyncio.run(probe(spec) if "probe" in spec else load(spec))
    figures = {f"p{share}": 1000 * percentile(latencies, share / 100) for share in (50, 99)}
    answer = {"per_second": len(latencies) / seconds, **figures, "max": 1000 * max(latencies), "seconds": seconds}
    print(json.dumps({**answer, "statuses": {str(status): count for status, count in statuses.items()}}))

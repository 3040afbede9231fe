"""Hub CPU for one request to IAM over TLS: our HTTP client beside the two that a stock hub uses.

    python benchmarks/iam_requests.py

The IAM is a process of its own, so that only the client's CPU is counted, and each client runs in fresh processes, too.
A request is a token exchange with tokens of real size, and its answer is parsed. Each client does the requests one by
one and then 20 at a time, as its library does out of the box: tornado's simple client connects anew for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.rows import Row

REQUESTS = 1000
EACH = REQUESTS // 2  # one by one, then concurrently
ROUNDS = 3
CONCURRENCY = 20
CLIENTS = {"ours": "dlaas HTTP", "simple": "tornado simple", "curl": "tornado curl"}
TARGET_WORSE, TARGET_BETTER = 0.5, 1.0
TIMEOUT_SECONDS = 60

_TOKEN = "eyJ" + "x" * 1200
_FORM = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token": _TOKEN,
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "audience": "rucio",
    "scope": "openid profile",
}
_HEADERS = {"Authorization": "Basic ZGxhYXM6ZGxhYXMtc2VjcmV0", "Accept": "application/json"}
_ANSWER = json.dumps({"access_token": _TOKEN, "token_type": "Bearer", "expires_in": 3599, "scope": "openid profile"})


def run() -> list[dict[str, Any]]:
    """One row per client and per way of asking; `ratio` is its CPU over ours. The last row has the targets."""
    with tempfile.TemporaryDirectory() as folder, _iam(Path(folder)) as (url, ca_file):
        rounds = [[row for client in CLIENTS for row in _child("client", client, url, ca_file)] for _ in range(ROUNDS)]
    # A busy machine only ever adds to CPU time (cold caches), so the best of some rounds is the client's own.
    rows: list[dict[str, Any]] = [min(same, key=lambda row: row["cpu_seconds"]) for same in zip(*rounds, strict=True)]
    cpu = {client: sum(row["cpu_seconds"] for row in rows if row["client"] == CLIENTS[client]) for client in CLIENTS}
    stock = [cpu["simple"], cpu["curl"]]
    for row in rows:
        ours = next(each for each in rows if each["client"] == CLIENTS["ours"] and each["mode"] == row["mode"])
        row["ratio"] = round(row["cpu_seconds"] / ours["cpu_seconds"], 2)
    worse, better = cpu["ours"] / max(stock), cpu["ours"] / min(stock)
    met = worse <= TARGET_WORSE and better <= TARGET_BETTER
    rows.append(
        {
            "client": "dlaas / stock",
            "mode": "both",
            "of_worse": round(worse, 2),
            "of_better": round(better, 2),
            "met": met,
        }
    )
    return rows


def rows() -> list[Row]:
    """The two lines of the table."""
    measured = run()
    cpu = {
        client: sum(row["cpu_seconds"] for row in measured if row["client"] == CLIENTS[client]) for client in CLIENTS
    }
    what = "Hub CPU for 1,000 requests to IAM over TLS"
    return [
        Row(
            what if client == "simple" else "the same",
            f"{CLIENTS[client]} {cpu[client]:.2f} s",
            f"{cpu['ours']:.2f} s",
            f"{cpu['ours'] / cpu[client]:.2f}",
            f"<= {target:g} {'the worse' if cpu[client] == max(cpu['simple'], cpu['curl']) else 'the better'}",
            cpu["ours"] / cpu[client] <= target,
        )
        for client, target in (("simple", TARGET_WORSE), ("curl", TARGET_BETTER))
    ]


@contextlib.contextmanager
def _iam(folder: Path) -> Iterator[tuple[str, str]]:
    ca_file = folder / "ca.pem"
    certificate(ca_file, folder / "key.pem")
    command = [sys.executable, "-m", __spec__.name, "serve", str(ca_file), str(folder / "key.pem")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), str(ca_file)
    finally:
        process.kill()
        process.wait()


def _child(*arguments: str) -> list[dict[str, Any]]:
    # What a stock hub trusts comes from the environment; ca_file is given to curl, which does not read it there.
    environment = {**os.environ, "SSL_CERT_FILE": arguments[-1]}
    command = [sys.executable, "-m", __spec__.name, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT_SECONDS, env=environment)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


async def _measure(client: str, url: str, ca_file: str) -> list[dict[str, Any]]:
    ask, close = _client(client, url, ca_file)
    await asyncio.gather(*(ask() for _ in range(CONCURRENCY)))  # warm: imports, connections, caches
    rows = []
    for mode, workers in (("one by one", 1), (f"{CONCURRENCY} at a time", CONCURRENCY)):
        cpu, wall = time.process_time(), time.monotonic()

        async def work(count: int) -> None:
            for _ in range(count):
                await ask()

        await asyncio.gather(*(work(EACH // workers) for _ in range(workers)))
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        rows.append(
            {
                "client": CLIENTS[client],
                "mode": mode,
                "requests": EACH,
                "cpu_seconds": round(cpu, 3),
                "cpu_ms_per_request": round(cpu / EACH * 1000, 3),
                "wall_seconds": round(wall, 3),
            }
        )
    await close()
    return rows


def _client(client: str, url: str, ca_file: str) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
    if client == "ours":
        from jupyterhub_dlaas.oidc.http import HTTP

        http = HTTP()

        async def ask() -> None:
            answer = await http.request("POST", url, data=_FORM, headers=_HEADERS)
            assert answer.json()["expires_in"] == 3599

        return ask, http.close

    from tornado.httpclient import AsyncHTTPClient

    name = {"simple": "simple_httpclient.SimpleAsyncHTTPClient", "curl": "curl_httpclient.CurlAsyncHTTPClient"}[client]
    AsyncHTTPClient.configure(f"tornado.{name}")
    stock = AsyncHTTPClient()
    more = {"ca_certs": ca_file} if client == "curl" else {}

    async def ask_stock() -> None:
        answer = await stock.fetch(url, method="POST", body=urlencode(_FORM), headers=_HEADERS, **more)
        assert json.loads(answer.body)["expires_in"] == 3599

    async def close() -> None:
        stock.close()

    return ask_stock, close


async def _serve(ca_file: str, key_file: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_ANSWER)}\r\n\r\n"
    answer = (head + _ANSWER).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = asked.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in asked:
                    break
        writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca_file, key_file)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=1024)
    print(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/token", flush=True)
    await server.serve_forever()


def certificate(ca_file: Path, key_file: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*form))
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def main() -> None:
    """Prints the table; the two other commands are the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command")
    client = commands.add_parser("client")
    client.add_argument("client", choices=CLIENTS)
    client.add_argument("url")
    client.add_argument("ca_file")
    serve = commands.add_parser("serve")
    serve.add_argument("ca_file")
    serve.add_argument("key_file")
    options = parser.parse_args()
    if options.command == "client":
        print(json.dumps(asyncio.run(_measure(options.client, options.url, options.ca_file))))
    elif options.command == "serve":
        asyncio.run(_serve(options.ca_file, options.key_file))
    else:
        for row in run():
            print("  ".join(f"{name}={value}" for name, value in row.items()))


if __name__ == "__main__":
    main()

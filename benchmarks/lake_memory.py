"""What the reading commands of `datalake` hold in memory with half a million files, beside a thousand.

Rucio is a small server here that sends as many lines as it is asked for, because a real one would take an hour to fill.
The files need no room either: in a name `./` and `/` change nothing, so half a million names lead to one file.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.peak import peak
from benchmarks.rows import Row

MANY, FEW = 500_000, 1_000
MOST_MB = 300
SCOPE, FILE = "bench", "file"
COMMANDS = {
    "path": ["path", f"{SCOPE}:all"],
    "path, nothing here": ["path", f"{SCOPE}:none"],
    "pfn": ["pfn", f"{SCOPE}:all"],
    "ls": ["ls", f"{SCOPE}:all"],
    "find": ["find", f"{SCOPE}:*"],
}


def rows(many: int = MANY, commands: tuple[str, ...] = tuple(COMMANDS)) -> list[Row]:
    """A line per command."""
    with tempfile.TemporaryDirectory(prefix="dlaas-bench-") as name:
        folder = Path(name)
        with _Rucio() as rucio:
            environ = _server(folder, rucio)
            found = []
            for command in commands:
                rucio.files = FEW
                few, _ = _peak(COMMANDS[command], environ)
                rucio.files = many
                most, printed = _peak(COMMANDS[command], environ)
                expected = 0 if "nothing" in command else many
                assert printed in (expected, expected + 1), (command, printed)  # a table has a heading
                found.append(_row(command, many, few, most))
            return found


def _row(command: str, many: int, few: float, most: float) -> Row:
    return Row(
        f"datalake {command}, {many:,} files: memory",
        f"{FEW:,} files {few:.0f} MB",
        f"{most:.0f} MB",
        f"{most / few:.2f}",
        f"<= {MOST_MB} MB",
        most <= MOST_MB,
    )


def _peak(arguments: list[str], environ: dict[str, str]) -> tuple[float, int]:
    """The command's peak resident memory in MB, and how many lines it printed."""
    command = [sys.executable, "-m", "jupyterhub_dlaas.datalake.cli", *arguments]
    with tempfile.TemporaryFile() as out:
        megabytes, code, errors = peak(command, environ, out)
        assert code in (0, 8), errors
        out.seek(0)
        lines = sum(1 for _ in out)
    return megabytes, lines


def _server(folder: Path, rucio: _Rucio) -> dict[str, str]:
    """A data lake server's files, with one file under its mount."""
    mount = folder / "mount"
    (mount / SCOPE).mkdir(parents=True)
    (mount / SCOPE / FILE).write_bytes(b"12345")
    (folder / "token").write_text("benchmark")
    instance = {"name": "lake", "rucio_host": rucio.url, "token": str(folder / "token"), "mode": "replica"}
    instance |= {"destination_rse": "HERE", "mount": str(mount)}
    lake = {"version": 1, "user": "alice", "account": "alice", "auth_type": "oidc", "instances": [instance]}
    (folder / "datalake.json").write_text(json.dumps(lake))
    (folder / "rucio" / "etc").mkdir(parents=True)
    (folder / "rucio" / "etc" / "rucio.cfg").write_text("[client]\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RUCIO")}
    return {**kept, "DLAAS_DIR": str(folder), "RUCIO_HOME": str(folder / "rucio")}


def file_name(number: int) -> str:
    """A name of its own for each number, all of which lead to the same file."""
    return "".join("./" if number >> bit & 1 else "/" for bit in range(20)).lstrip("/") + FILE


class _Rucio(ThreadingHTTPServer):
    """Answers what the reading commands ask, in the words of a real server."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = 0
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Rucio

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/rses/"):
            everything = {"read": 1, "write": 1, "delete": 1}
            protocol = {"scheme": "root", "prefix": "/", "domains": {"lan": everything, "wan": everything}}
            self._one({"rse": "HERE", "deterministic": True, "lfn2pfn_algorithm": "identity", "protocols": [protocol]})
        elif path.endswith(("/files", "/dids/search")) or path.count("/") == 4:
            self._lines(self._file(number, here="none" not in path) for number in range(self.server.files))
        else:
            self._one({"scope": SCOPE, "name": "all", "type": "DATASET"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/bulkmeta"):
            self._lines(iter(asked["dids"]))
        elif asked["dids"][0]["name"] == "all":
            self._lines(self._replica(number) for number in range(self.server.files))
        else:
            self._lines({**did, "rses": {}, "states": {}, "pfns": {}} for did in asked["dids"])

    def _file(self, number: int, *, here: bool) -> dict[str, Any]:
        name = file_name(number) if here else f"missing-{number:06d}-of-a-dataset-with-a-name-of-a-usual-length"
        about = {"scope": SCOPE, "name": name, "bytes": 5, "adler32": "00000001", "guid": None, "events": None}
        return {**about, "type": "FILE", "did_type": "DIDType.FILE", "length": None}

    def _replica(self, number: int) -> dict[str, Any]:
        pfn = f"root://storage.example.org:1094//data/{SCOPE}/{number:06d}.of-a-usual-length.fits"
        about = {"rse": "HERE", "priority": 1, "domain": "wan", "type": "DISK"}
        return {"scope": SCOPE, "name": f"{number:06d}", "bytes": 5, "pfns": {pfn: about}, "rses": {"HERE": [pfn]}}

    def _one(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _lines(self, values: Iterator[Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-json-stream")
        self.end_headers()
        for value in values:
            self.wfile.write(json.dumps(value).encode() + b"\n")

    def log_message(self, *args: object) -> None:
        pass

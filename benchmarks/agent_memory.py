"""What an agent costs: resident memory between renewals against `python -c pass`, and CPU.

    python -m benchmarks.agent_memory

A tiny hub in this process answers real agents over http and https. Memory is read while an agent waits for its next
renewal, after several of them; the peak is that of the short-lived child that talks to the hub, its pages shared with
the agent counted again. CPU between renewals is what a waiting agent used in two seconds, in clock ticks of 10 ms; CPU
per renewal includes the child.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.rows import Row
from jupyterhub_dlaas.agent.command import command

RENEWALS = 10
IDLE_SECONDS = 2.0
TARGETS = {"http": 1.7, "https": 2.0}
_IDLE_CPU = f"CPU ticks in {IDLE_SECONDS:g} s between renewals"

# A process that has done nothing but start says how large it is; reading that needs no import.
_BASELINE = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"


def run() -> list[dict[str, Any]]:
    """One row per scheme: memory in kB and as a ratio to the baseline, with the target, and CPU."""
    baseline = min(
        int(subprocess.run([sys.executable, "-c", _BASELINE], capture_output=True, check=True).stdout) for _ in range(3)
    )
    return [_row(scheme, baseline) for scheme in TARGETS]


def rows() -> list[Row]:
    """A line of the table per scheme."""
    return [
        Row(
            row["what"][:1].upper() + row["what"][1:] + ": resident memory",
            f"python -c pass {row['python -c pass, kB'] / 1000:.1f} MB",
            f"{row['agent, kB'] / 1000:.1f} MB, {row[_IDLE_CPU]} CPU ticks between renewals",
            f"{row['ratio']:.2f}",
            f"<= {row['target']:g}, no CPU",
            row["ratio"] <= row["target"] and row[_IDLE_CPU] == 0,
        )
        for row in run()
    ]


def _row(scheme: str, baseline: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        certificate = _certificate(Path(folder)) if scheme == "https" else None
        hub = _Hub(certificate)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        agent = _start(hub, Path(folder), certificate)
        try:
            hub.slow.wait(60)
            time.sleep(0.5)  # the last renewal is written
            ticks = _ticks(agent.pid)
            time.sleep(IDLE_SECONDS)
            between = _ticks(agent.pid) - ticks
            memory = _status(agent.pid, "VmRSS")
        finally:
            agent.terminate()
            agent.wait()
            hub.shutdown()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "what": f"agent over {scheme}",
        "python -c pass, kB": baseline,
        "agent, kB": memory,
        "ratio": round(memory / baseline, 2),
        "target": TARGETS[scheme],
        "child at its peak, kB": hub.peak,
        _IDLE_CPU: between,
        "CPU ms per renewal": round(1000 * cpu / (RENEWALS + 1)),
    }


class _Hub(ThreadingHTTPServer):
    """Sends new files at once for a number of renewals, then asks for an hour of silence."""

    daemon_threads = True

    def __init__(self, certificate: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server_port}/hub/"
        self.asked = 0
        self.peak = 0
        self.agent: int | None = None
        self.slow = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: _Hub

    def do_GET(self) -> None:
        hub = self.server
        hub.asked += 1
        last = hub.asked > RENEWALS
        files = [
            {
                "root": "files",
                "path": f"tokens/{name}",
                "mode": "0600",
                "when": "always",
                "content": base64.b64encode(f"{hub.asked:04d}".encode() * 500).decode(),
            }
            for name in ("rucio", "eos-eulake", "cnaf")
        ]
        bundle = {"version": 1, "ask_again_seconds": 3600 if last else 0.05, "ready": True, "files": files}
        self._answer(200, json.dumps(bundle | {"mounts": [], "not_ready_because": ""}).encode())
        if last:
            hub.slow.set()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        hub = self.server
        if hub.agent:  # the child that asks is waiting for this answer, everything imported
            hub.peak = max([hub.peak, *(_status(pid, "VmHWM") for pid in _children(hub.agent))])
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _start(hub: _Hub, folder: Path, certificate: Path | None) -> subprocess.Popen[bytes]:
    reading, writing = os.pipe()
    os.write(writing, b"benchmark-token")
    os.close(writing)
    arguments = command(
        hub_url=hub.url,
        files=str(folder / "files"),
        cache=str(folder / "cache"),
        credential_fd=reading,
        ca_file=str(certificate) if certificate else None,
    )
    agent = subprocess.Popen(arguments, pass_fds=(reading,))
    os.close(reading)
    hub.agent = agent.pid
    return agent


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])  # its own time and that of its children


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem, encryption = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption)
    path = folder / "hub.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


if __name__ == "__main__":
    for row in run():
        print("\n".join(f"{name:>45}  {value}" for name, value in row.items()), end="\n\n")

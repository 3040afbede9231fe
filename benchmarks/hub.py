"""The hub's figures beside a stock hub's with GenericOAuthenticator, on the same machine in the same run.

Every hub, every IAM and every load is a process of its own. The stock hub speaks to the same stand-in IAM.
"""

from __future__ import annotations

import json
import secrets
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.iam_requests import certificate
from benchmarks.login import login_seconds
from benchmarks.ports import free_port
from benchmarks.rows import Row


class Peer:
    """A process that says in one JSON line that it is ready, and in another one at its end what it used."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.ready = self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")

    def stop(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self._line()
        except RuntimeError:
            return {}
        finally:
            self.process.wait(30)


class Scene:
    """An IAM with users, and hubs over it one after another, in one folder."""

    def __init__(self, folder: Path, *, users: int, token_seconds: float = 600, tls: bool = False) -> None:
        self.folder, self.token_seconds = folder, token_seconds
        self.ca_file = str(folder / "ca.pem") if tls else None
        if tls:
            certificate(folder / "ca.pem", folder / "key.pem")
        self.iam = Peer(
            "benchmarks.iam_process",
            str(folder),
            *("--users", str(users), "--token-seconds", str(token_seconds)),
            *(("--tls",) if tls else ()),
        )
        self.issuer_url: str = self.iam.ready["issuer_url"]

    @contextmanager
    def hub(self, kind: str, **settings: Any) -> Iterator[tuple[Peer, int, list[dict[str, str]]]]:
        """A hub of that kind with all users: (process, port, what its users call it with)."""
        port = free_port()
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            spec = {
                "kind": kind,
                "folder": folder,
                "port": port,
                "issuer_url": self.issuer_url,
                "ca_file": self.ca_file,
                "cookie_secret": secrets.token_hex(32),
                "sessions": str(self.folder / "sessions.json"),
                "running": True,
                "audiences": ["rucio"],
                "age_seconds": 0,
                "token_seconds": self.token_seconds,
                "auth_refresh_age": 300,
            }
            path = Path(folder) / "spec.json"
            path.write_text(json.dumps({**spec, **settings}))
            peer = Peer("benchmarks.hub_process", str(path))
            try:
                yield peer, port, json.loads(Path(peer.ready["callers"]).read_text())
            finally:
                if peer.process.poll() is None:
                    peer.stop()

    def control(self, what: str, method: str = "POST", **values: Any) -> dict[str, Any]:
        body = json.dumps(values).encode() if method == "POST" else None
        url = f"{self.issuer_url}control/{what}"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
        trust = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def scene(**settings: Any) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="dlaas-bench-") as folder:
        made = Scene(Path(folder), **settings)
        try:
            yield made
        finally:
            made.iam.stop()


def load(spec: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(spec))
    process.stdin.close()
    return process


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.read())
    process.wait()
    return answer


def bundle(servers: int = 500, requests: int = 4000, rounds: int = 5) -> list[Row]:
    """`GET /hub/dlaas/bundle` beside `GET /hub/api/user`, with the same agent tokens, rounds taking turns."""
    with scene(users=servers, token_seconds=3600) as made, made.hub("dlaas") as (_, port, callers):
        figures: dict[str, list[dict[str, Any]]] = {"/hub/api/user": [], "/hub/dlaas/bundle": []}
        for path, measured in [*figures.items()] * (rounds + 1):
            asks = [[path, {"Authorization": f"token {callers[n % servers]['agent_token']}"}] for n in range(requests)]
            measured.append(result(load({"port": port, "requests": asks, "connections": 20})))
            assert measured[-1]["statuses"] == {"200": requests}, measured[-1]["statuses"]
        stock, ours = (measured[1:] for measured in figures.values())  # the first round warms up
        speed = [b["per_second"] / a["per_second"] for a, b in zip(stock, ours, strict=True)]
        slow = [b["p99"] / a["p99"] for a, b in zip(stock, ours, strict=True)]
    return [
        Row(
            f"Bundle, {servers} servers",
            f"/hub/api/user {_median(stock, 'per_second'):.0f}/s",
            f"{_median(ours, 'per_second'):.0f}/s",
            f"{statistics.median(speed):.2f}",
            ">= 0.8",
            statistics.median(speed) >= 0.8,
        ),
        Row(
            "the same, p99",
            f"{_median(stock, 'p99'):.1f} ms",
            f"{_median(ours, 'p99'):.1f} ms",
            f"{statistics.median(slow):.2f}",
            "<= 1.5",
            statistics.median(slow) <= 1.5,
        ),
    ]


def login(rounds: int = 5) -> list[Row]:
    """From the callback to the logged-in answer, every IAM answer 500 ms late: ours exchanges for three audiences."""
    seconds: dict[str, list[float]] = {}
    with scene(users=0) as made:
        for kind in ("stock", "dlaas"):
            audiences = ["rucio", "eos-eulake", "cnaf"]
            with made.hub(kind, running=False, audiences=audiences) as (_, port, _):
                login_seconds(port, "alice", made, late_seconds=0.0)  # connections, templates, keys
                seconds[kind] = [login_seconds(port, "alice", made, late_seconds=0.5) for _ in range(rounds)]
    stock, ours = (statistics.median(seconds[kind]) for kind in ("stock", "dlaas"))
    what = "Login to tokens, 3 audiences, IAM 500 ms late"
    ratio = ours / stock
    return [Row(what, f"{stock:.2f} s (no exchange)", f"{ours:.2f} s", f"{ratio:.2f}", "<= 1.1", ratio <= 1.1)]


def storm(users: int = 2000) -> list[Row]:
    """All users with running servers fall due in one minute, IAM answers after 200 ms."""
    figures: dict[str, dict[str, Any]] = {}
    for kind in ("stock", "dlaas"):
        with scene(users=users) as made:
            # A token of 600 s is renewed when 120 s are left, ahead of that by up to a tenth of its life: one minute.
            # Seconds after the start: due from 90 to 150.
            with made.hub(kind, age_seconds=330, auth_refresh_age=1) as (hub, port, callers):
                started = time.time()
                made.control("settings", latency_seconds=0.2)
                made.control("counters", "DELETE")
                hub.process.send_signal(signal.SIGUSR1)
                if kind == "stock":
                    made.control("clock", advance=601)  # stock asks only after IAM refused the token
                    prober = load({"port": port, "probe": "/hub/health", "every_seconds": 0.02, "for_seconds": 70})
                    asks = [["/hub/api/user", {"Authorization": f"token {caller['token']}"}] for caller in callers]
                    asked = result(load({"port": port, "requests": asks, "connections": 200, "over_seconds": 60}))
                    health = result(prober)
                else:
                    seconds = 160 - min(80.0, time.time() - started)
                    health = result(
                        load({"port": port, "probe": "/hub/health", "every_seconds": 0.02, "for_seconds": seconds})
                    )
                    asked = {}
                counters = made.control("counters", "GET")
                figures[kind] = {**hub.stop(), "health": health, "asked": asked, "granted": counters["granted"]}
    stock, ours = figures["stock"], figures["dlaas"]
    in_time, p99 = ours["renewed_in_time"], ours["health"]["p99"]
    return [
        Row(
            f"{users} users due in a minute, IAM 200 ms: renewed before expiry",
            f"{stock['granted'].get('refresh', 0)} refreshed, all late",
            f"{in_time} (closest: {ours['closest_call_seconds']:.0f} s left)",
            "",
            f"{users}",
            in_time == users,
        ),
        Row(
            "the same, /hub/health p99",
            f"{stock['health']['p99']:.0f} ms",
            f"{p99:.0f} ms",
            f"{p99 / stock['health']['p99']:.2f}",
            "<= 50 ms",
            p99 <= 50,
        ),
        Row(
            "the same, longest event-loop stall",
            f"{stock['max_stall_ms']:.0f} ms",
            f"{ours['max_stall_ms']:.0f} ms",
            f"{ours['max_stall_ms'] / stock['max_stall_ms']:.2f}",
            "<= 50 ms",
            ours["max_stall_ms"] <= 50,
        ),
        Row(
            "the same, hub CPU",
            f"{stock['cpu_seconds']:.1f} s (no exchange)",
            f"{ours['cpu_seconds']:.1f} s",
            f"{ours['cpu_seconds'] / stock['cpu_seconds']:.2f}",
            "",
            True,
        ),
    ]


def expiry(users: int = 300, each: int = 3, rounds: int = 3) -> list[Row]:
    """Requests of many users at the moment their tokens expire; refresh tokens are single-use; no exchange.

    IAM speaks TLS, as every real one does.
    """
    figures: dict[str, list[dict[str, Any]]] = {"stock": [], "dlaas": []}
    for kind, measured in [*figures.items()] * rounds:
        measured.append(_expire(kind, users, each))
    stock, ours = figures["stock"], figures["dlaas"]
    cpu = statistics.median(b["cpu_seconds"] / a["cpu_seconds"] for a, b in zip(stock, ours, strict=True))
    survivors, grants = [min(figure["alive"] for figure in ours), max(figure["grants"] for figure in ours)]
    return [
        Row(
            f"{users} users x {each} requests at expiry, IAM over TLS: sessions that survive",
            f"{stock[-1]['alive']} on {stock[-1]['grants']} grants",
            f"{survivors} on {grants} grants",
            "",
            f"{users} on {users}",
            survivors == users == grants,
        ),
        Row(
            "the same, hub CPU",
            f"{_median(stock, 'cpu_seconds'):.2f} s",
            f"{_median(ours, 'cpu_seconds'):.2f} s",
            f"{cpu:.2f}",
            "<= 0.5",
            cpu <= 0.5,
        ),
    ]


def _expire(kind: str, users: int, each: int) -> dict[str, Any]:
    with scene(users=users, tls=True) as made:
        made.control("settings", refuse_reuse=True)
        with made.hub(kind, running=False, audiences=[], auth_refresh_age=1) as (hub, port, callers):
            asks = [["/hub/api/user", {"Authorization": f"token {caller['token']}"}] for caller in callers]
            result(load({"port": port, "requests": asks, "connections": 20}))  # everybody was here a moment ago
            made.control("clock", advance=601)
            hub.process.send_signal(signal.SIGUSR2)
            made.control("counters", "DELETE")
            time.sleep(1.5)  # beyond auth_refresh_age, so that stock looks, too
            hub.process.send_signal(signal.SIGUSR1)
            each_thrice = [ask for ask in asks for _ in range(each)]
            result(load({"port": port, "requests": each_thrice, "connections": 100}))
            grants = _settled(lambda: int(made.control("counters", "GET")["requests"].get("refresh", 0)))
            alive = made.control("sessions", "GET")["alive"]
            return {**hub.stop(), "grants": grants, "alive": alive}


def _settled(count: Callable[[], int]) -> int:
    """The count once it has stayed the same for a second: renewals may go on after the requests were answered."""
    before, now = -1, count()
    for _ in range(30):
        if now == before:
            break
        time.sleep(1)
        before, now = now, count()
    return now


def _median(figures: list[dict[str, Any]], name: str) -> float:
    return statistics.median(figure[name] for figure in figures)


def run() -> list[Row]:
    """All of the hub's rows."""
    return [*bundle(), *login(), *storm(), *expiry()]

"""Looks for tokens where none may be: logs, process environments and arguments.

What counts as a leak: any known secret given to `Leaks`, anything shaped like a JWT, and nothing else. JupyterHub puts
its own server and proxy tokens into environments, which are let through by name.

A conftest of tests of a whole hub imports `no_leaks` and `pytest_runtest_makereport`, and its fixtures call
`assert_no_leaks` while the servers of a test still run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.hub import RunningHub

JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
JUPYTERHUBS_OWN = ("JUPYTERHUB_API_TOKEN=", "JPY_API_TOKEN=", "CONFIGPROXY_AUTH_TOKEN=")


class Leaks:
    """Collects places that leak; `found` names the place, never the secret."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = {secret for secret in secrets if len(secret) >= 8}
        self.found: list[str] = []
        self.looked_at = 0

    def text(self, place: str, text: str) -> None:
        self.looked_at += 1
        if JWT.search(text):
            self.found.append(f"{place}: something shaped like a JWT")
        if any(secret in text for secret in self.secrets):
            self.found.append(f"{place}: a known secret")

    def processes(self, pids: Iterable[int]) -> None:
        for pid in pids:
            proc = Path(f"/proc/{pid}")
            try:
                variables = proc.joinpath("environ").read_text(errors="replace").split("\0")
                arguments = proc.joinpath("cmdline").read_text(errors="replace").replace("\0", " ")
            except OSError:  # it has ended, or was never ours to read
                continue
            own = [variable for variable in variables if not variable.startswith(JUPYTERHUBS_OWN)]
            self.text(f"environment of process {pid}", "\n".join(own))
            self.text(f"arguments of process {pid}", arguments)


class LogReader:
    """Reads each log once: a later look begins where the one before ended."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}

    def look(self, leaks: Leaks, folder: Path) -> None:
        """Looks into all logs at the top of `folder`."""
        for path in sorted(folder.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                # A little twice, in case a secret was half written.
                text = file.read()
                self._read[path] = max(0, file.tell() - 200)
            leaks.text(str(path), text.decode(errors="replace"))


def children() -> list[int]:
    """This process's descendants."""
    return [child.pid for child in psutil.Process().children(recursive=True)]


_logs = LogReader()


def assert_no_leaks() -> None:
    """No token or client secret is in any log, process environment or argument that the tests have made so far."""
    leaks = Leaks(secret for hub in RunningHub.every for secret in hub.known_secrets)
    for hub in RunningHub.every:
        _logs.look(leaks, hub.folder)
    leaks.processes(children())
    assert not leaks.found, leaks.found


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Looks after every test, when all of it has been written."""
    yield
    assert_no_leaks()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """What servers and agents said on their standard error is in no file, but in the report."""
    report = yield
    leaks = Leaks(secret for hub in RunningHub.every for secret in hub.known_secrets)
    leaks.text("standard output and error of the test", report.capstdout + report.capstderr + report.caplog)
    if leaks.found and report.passed:
        report.outcome, report.longrepr = "failed", str(leaks.found)
    return report

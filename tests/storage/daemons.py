"""One program that runs in the background: started, found ready, stopped, and started again when a test wants it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")
LAST_LINES = 15
# Asked of a DNS server, the name of each of the machine's addresses takes xrdcp seconds when the server is a slow one;
# a third-party copy then fails, as its two ends had different names for the same machine. An empty resolv.conf, in a
# mount namespace of its own, is asked at once.
WITHOUT_NAMES = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf; exec "$@"', "/dev/null")


class LabError(RuntimeError):
    """The lab cannot start or go on; the message ends with what the failed program said last."""


@dataclass
class Daemon:
    """`command` with exactly this `environment`. `ready` is asked until it is true; `log` gets what it says.

    `port`: it is handed this port of 127.0.0.1; `user`: it runs as this account; without `names` (and as root) it asks
    no DNS server.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    ready: Callable[[Daemon], bool]
    port: int | None = None
    user: str | None = None
    names: bool = False
    limit_seconds: float = 60
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} has not been started"
        return self._process.pid

    def said(self) -> str:
        """What it has written since its last start."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def start(self) -> None:
        """Returns when it is ready. LabError with the end of its log if it ends or takes too long."""
        if self.running:
            return
        options = [*(("--user", self.user) if self.user else ())]
        options += ["--port", str(self.port)] if self.port else []
        launch = (sys.executable, "-I", str(LAUNCH))
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*(() if self.names or os.geteuid() else WITHOUT_NAMES), *launch, *options, "--", *self.command],
                env=dict(self.environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the lab, which stops everything in order
            )
        deadline = time.monotonic() + self.limit_seconds
        while not self.ready(self):
            code = self._process.poll()
            if code is not None:
                raise self._failure(f"{self.name} ended with code {code}")
            if time.monotonic() > deadline:
                self.stop()
                raise self._failure(f"{self.name} was not ready after {self.limit_seconds:g} s")
            time.sleep(0.03)

    def stop(self, *, hard: bool = False) -> None:
        """Ends it and all that it has started; `hard` without asking. Nothing happens if it does not run."""
        if self._process is None:
            return
        for number, patience in ((signal.SIGKILL, 5.0),) if hard else ((signal.SIGTERM, 8.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._process.wait(5)

    def freeze(self, frozen: bool = True) -> None:
        """It answers nothing any more, or again."""
        os.killpg(self.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def _failure(self, what: str) -> LabError:
        lines = [line for line in self.said().splitlines() if line.strip()][-LAST_LINES:]
        return LabError("\n".join([f"{what}. The last lines of its log {self.log}:", *lines]))


def says(text: str) -> Callable[[Daemon], bool]:
    """Ready when its log has this text."""
    return lambda daemon: text in daemon.said()

"""A real Keycloak for the tests: fetched with Maven, unpacked once, started on a free port of loopback.

`python -m tests.keycloak.runner [--port N]` runs one until Ctrl-C. It needs Java 17 or later and Maven (Debian:
`apt-get install openjdk-17-jre-headless maven`), 620 MB of memory, 350 MB on disk and about a minute.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from typing import IO

from .realm import REALM, realm

VERSION = "26.7.3"
ADMIN, ADMIN_PASSWORD = "admin", "admin"
_START_SECONDS = 400


class KeycloakError(RuntimeError):
    """Keycloak cannot be had or does not start; the message says what to install or ends with its log."""


class Keycloak:
    """One Keycloak with an empty database and the realm `dlaas`. `stop()` and `start()` again keep what it holds."""

    def __init__(self, *, port: int = 0, token_seconds: int = 60, folder: pathlib.Path | None = None) -> None:
        self.folder = (
            folder or pathlib.Path(os.environ.get("DLAAS_KEYCLOAK_HOME", "~/.cache/dlaas-keycloak")).expanduser()
        )
        self.home = self.folder / f"keycloak-{VERSION}"
        self.log = self.folder / "keycloak.log"
        self.port = port or _free_port()
        self._token_seconds = token_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def issuer_url(self) -> str:
        return f"{self.url}/realms/{REALM}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def prepare(self) -> None:
        """Program there, database empty, realm to be imported. One run at a time may use the folder."""
        _require("java", "openjdk-17-jre-headless")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KeycloakError(f"Another run is using {self.folder}; set DLAAS_KEYCLOAK_HOME.") from None
        if not (self.home / "bin" / "kc.sh").exists():
            self._unpack()
        # The import leaves a realm alone that exists already.
        shutil.rmtree(self.home / "data" / "h2", ignore_errors=True)
        imports = self.home / "data" / "import"
        imports.mkdir(parents=True, exist_ok=True)
        for old in imports.iterdir():
            old.unlink()
        (imports / f"{REALM}-realm.json").write_text(json.dumps(realm(token_seconds=self._token_seconds)))

    def _unpack(self) -> None:
        name = "keycloak-quarkus-dist"
        archive = pathlib.Path.home() / f".m2/repository/org/keycloak/{name}/{VERSION}/{name}-{VERSION}.tar.gz"
        if not archive.exists():
            _require("mvn", "maven")
            artifact = f"-Dartifact=org.keycloak:{name}:{VERSION}:tar.gz"
            command = ["mvn", "-B", "-ntp", "-q", "dependency:get", artifact, "-Dtransitive=false"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise KeycloakError(f"Maven could not fetch Keycloak {VERSION}:\n{done.stdout[-2000:]}")
        with tarfile.open(archive) as tar:
            tar.extractall(self.folder, filter="tar")

    def start(self) -> None:
        """Starts and waits until the realm answers. KeycloakError with the end of its log if it does not."""
        if self._lock is None:
            self.prepare()
        assert self._lock is not None
        environment = os.environ | {
            "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
        }
        command = [str(self.home / "bin" / "kc.sh"), "start-dev", "--import-realm", "--http-host=127.0.0.1"]
        command += [f"--http-port={self.port}", f"--hostname={self.url}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # kc.sh and its Java are one group, which stop() ends
                pass_fds=(self._lock.fileno(),),  # should this process be killed, the lock is held while Java lives
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise KeycloakError(f"Keycloak did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.5)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.issuer_url}/.well-known/openid-configuration", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Stops it and waits; its database stays for the next `start()`."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
            try:
                os.killpg(process.pid, number)
                process.wait(seconds)
                break
            except ProcessLookupError:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue

    def close(self) -> None:
        """Stops it and lets another run use the folder."""
        self.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _require(program: str, package: str) -> None:
    if shutil.which(program) is None:
        raise KeycloakError(f"{program} is missing. Install it: apt-get install {package}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.keycloak.runner", description=__doc__)
    parser.add_argument("--port", type=int, default=18090)
    parser.add_argument("--token-seconds", type=int, default=60)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs
    keycloak = Keycloak(port=options.port, token_seconds=options.token_seconds)
    try:
        keycloak.start()
        print(json.dumps({"issuer_url": keycloak.issuer_url, "admin": f"{ADMIN}/{ADMIN_PASSWORD}"}), flush=True)
        while keycloak.running:
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        keycloak.close()


if __name__ == "__main__":
    main()

"""A real Rucio server with its daemons and the stand-in IAM, for tests: the demo's lake without its samples."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import requests
from rucio.client import Client

from jupyterhub_dlaas.demo.iam import StandInIAM
from jupyterhub_dlaas.demo.lake import config
from jupyterhub_dlaas.demo.lake.config import MOUNTED_RSE, REMOTE_RSE, SCRATCH_RSE, Account, Lake
from support.ports import free_port

T = TypeVar("T")
CATALOGUE = """
vo: escape
rucio_instances:
  lake:
    display_name: Test Lake
    rucio_host: {url}
    audience: rucio
    mode: replica
    destination_rse: {mounted}
    storage: eulake
    path_begins_at: {path_begins_at}
    replication_rule_lifetime_days: 7
    wildcard_enabled: true
storages:
  eulake: {{type: fuse, host_path: "{mount}", mount_path: "{mount}"}}
  scratch:
    type: scratch
    host_path: "{area}"
    mount_path: "{scratch}"
    per_user: true
    rse: {rse}
    rse_path: "{below}"
environments:
  - {{name: root, image: "registry.example.org/escape/root:1", rucio: [lake], storages: [eulake, scratch]}}
"""
SMALL_QUOTA = 2**20  # bob's at DESY-DCACHE, in bytes
PEOPLE = ("alice", "bob")
POLICIES = Path(__file__).parents[2] / "config" / "rucio"  # where sites take the package from
POLICY = "dlaas_policy"


class BackgroundIAM:
    """The stand-in IAM in a thread, so that tests without a loop of their own may use it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.iam = self.call(self._start)

    async def _start(self) -> StandInIAM:
        iam = StandInIAM()
        await iam.start()
        return iam

    def call(self, what: Callable[[], Any]) -> Any:
        """Runs it in the loop's thread; what it returns, awaited where it is a coroutine."""

        async def run() -> Any:
            found = what()
            return await found if asyncio.iscoroutine(found) else found

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def stop(self) -> None:
        self.call(self.iam.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def token(self, user: str, audience: str, *, seconds: float = 3600) -> str:
        """An access token as the hub gets it by exchange; with negative `seconds` one that has expired."""

        def mint() -> str:
            iam, scope = self.iam, ["openid", "profile"]
            client = iam.clients["dlaas"]
            return iam._mint.access(
                client, iam.users[user], scope, audience=[audience], actor=client.client_id, seconds=seconds
            )

        return str(self.call(mint))


class RucioLake:
    """A running lake. `root` is its administrator; `sites` has its RSEs by name, `folder` everything on disk."""

    mounted, remote, scratch = MOUNTED_RSE, REMOTE_RSE, SCRATCH_RSE

    def __init__(self, folder: Path, settings: Lake, iam: BackgroundIAM) -> None:
        self.folder, self.settings, self.iam = folder, settings, iam
        self.url = settings.url
        self.mount = settings.mount
        self.sites = {site.rse: site for site in settings.sites}
        self.root = client_of(
            folder / "root",
            self.url,
            "root",
            auth_type="userpass",
            creds={"username": config.ROOT_USER, "password": settings.root_password},
        )

    def scratch_folder(self) -> Path:
        """What is at the prefix of the scratch RSE."""
        return self.settings.scratch

    def add_disk(self, rse: str, folder: Path, quota: int = 10**9) -> None:
        """One more deterministic RSE, on which alice may register; its files are below the folder."""
        everything = {"read": 1, "write": 1, "delete": 1}
        protocol = {"scheme": "file", "hostname": "localhost", "port": 0, "prefix": f"{folder}/"}
        protocol |= {"impl": "rucio.rse.protocols.posix.Default", "domains": {"lan": everything, "wan": everything}}
        self.root.add_rse(rse, deterministic=True)
        self.root.add_protocol(rse, protocol)
        self.root.set_local_account_limit("alice", rse, quota)

    def catalogue(self, scratch: Path, below: str) -> str:
        """A VO's catalogue with one environment, whose scratch storage, for this user, is `scratch`."""
        return CATALOGUE.format(
            url=self.url,
            mounted=self.mounted,
            mount=self.mount,
            path_begins_at=len(self.mount.parts) - 1,
            area=self.settings.scratch,
            scratch=scratch,
            rse=self.scratch,
            below=below,
        )

    def logs(self) -> str:
        """The ends of the logs of all parts."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))

    def until(self, condition: Callable[[], T], *, seconds: float = 60, what: str = "") -> T:
        """Waits until `condition()` is true, and returns it. AssertionError with the logs' ends otherwise."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}\n{self.logs()}"
            time.sleep(0.1)
        return found

    def settled(self, rule: str, *, seconds: float = 60) -> dict[str, Any]:
        """The rule once it is OK or STUCK."""

        def look() -> dict[str, Any] | None:
            found = dict(self.root.get_replication_rule(rule))
            return found if found["state"] in {"OK", "STUCK"} else None

        return dict(self.until(look, seconds=seconds, what=f"rule {rule} settles") or {})

    def gone(self, rule: str, *, seconds: float = 60) -> bool:
        """Waits until there is no such rule."""
        return bool(self.until(lambda: not self.exists(rule), seconds=seconds, what=f"rule {rule} goes"))

    def exists(self, rule: str) -> bool:
        from rucio.common.exception import RuleNotFound

        try:
            self.root.get_replication_rule(rule)
        except RuleNotFound:
            return False
        return True

    def path(self, rse: str, scope: str, name: str) -> Path:
        """Where Rucio says that a replica is on this machine."""
        ((_, pfns),) = (
            (replica["name"], replica["rses"][rse])
            for replica in self.root.list_replicas([{"scope": scope, "name": name}], rse_expression=rse)
        )
        return path_of(pfns[0])


def path_of(pfn: str) -> Path:
    """`file://localhost:0/a/b` -> `/a/b`."""
    return Path("/" + pfn.partition("://")[2].partition("/")[2])


def client_of(folder: Path, url: str, account: str, **settings: Any) -> Client:
    """A Rucio client that keeps its token in this folder: by default all clients of a machine share one in /tmp."""

    class OwnClient(Client):  # type: ignore[misc]
        TOKEN_PATH_PREFIX = f"{folder}/.rucio_"

    return OwnClient(rucio_host=url, auth_host=url, account=account, timeout=60, **settings)


@contextmanager
def running_lake(*, policy: str = POLICY, samples: bool = False, daemons: bool = True) -> Iterator[RucioLake]:
    """Starts IAM, Rucio and its daemons in a new folder; ends and removes everything. Takes about 8 seconds.

    Without `daemons` nothing is transferred or removed, and a measurement has the database to itself.
    """
    # Directly below the system's folder for temporary files: Rucio's paths are long enough already.
    with tempfile.TemporaryDirectory(prefix="rucio-lake-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        iam = BackgroundIAM()
        try:
            settings = lake_settings(folder, iam, policy, samples)
            config.write(settings)
            path = os.pathsep.join([str(POLICIES), *filter(None, [os.environ.get("PYTHONPATH")])])
            base = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path, "TMPDIR": name}
            environment = config.environment(settings, base)
            run_once(folder, environment, "jupyterhub_dlaas.demo.lake.bootstrap")
            commands = {"rucio": config.server_command(settings, sys.executable)}
            commands |= {"daemons": daemons_command(settings)} if daemons else {}
            with ExitStack() as stack:
                parts = [
                    stack.enter_context(process(folder / f"{part}.log", command, environment))
                    for part, command in commands.items()
                ]
                wait_for(f"{settings.url}/ping", folder, *parts)
                yield RucioLake(folder, settings, iam)
        finally:
            iam.stop()


def lake_settings(folder: Path, iam: BackgroundIAM, policy: str, samples: bool) -> Lake:
    client = iam.iam.clients["rucio"]
    users = [iam.iam.users[name] for name in PEOPLE]
    return Lake(
        folder=folder / "rucio",
        mount=folder / "eos" / "eulake_1",
        remote=folder / "far-away" / "desy",
        scratch=folder / "scratch",
        port=free_port(),
        issuer=iam.iam.issuer_url,
        client_id=client.client_id,
        client_secret=client.secret,
        root_password=secrets.token_urlsafe(16),
        accounts=tuple(
            Account(user.name, user.sub, user.email, {REMOTE_RSE: SMALL_QUOTA} if user.name == "bob" else {})
            for user in users
        ),
        policy=policy,
        samples=samples,
    )


def daemons_command(settings: Lake) -> list[str]:
    module = "jupyterhub_dlaas.demo.lake.transfers"
    return [sys.executable, "-m", module, "--lock", str(settings.lock), "--every", "0.5"]


def run_once(folder: Path, environment: dict[str, str], module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def process(log: Path, command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A part, ended with everything below it, at once: its folder goes, too."""
    with log.open("wb") as out:
        started = subprocess.Popen(
            command,
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def wait_for(url: str, folder: Path, *parts: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Until a server answers there."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
        assert time.monotonic() < deadline and all(part.poll() is None for part in parts), logs
        time.sleep(0.1)

"""A machine with several people on it: temporary accounts, a Python that all of them can run, and a hub run by root.

The accounts are real ones of this machine (`useradd`), with names that nobody has, and are removed at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import secrets
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import jupyterhub_dlaas
from jupyterhub_dlaas.demo.iam import Settings, StandInIAM
from support.hub import Browser
from support.hub_process import HubProcess
from support.ports import free_port
from support.scene import until, words

NOBODY = 65534
HUBS_OWN = f"only-the-hubs-{secrets.token_hex(8)}"
"""The value of a variable in the hub's environment, standing for all that an administrator puts there."""

# `remember` gives the tests what they have to look for; the folder's modes are those of a careful administrator.
_CONFIG = """
from jupyterhub_dlaas.hub.agents import AgentRegistry
async def remember(self, spawner, mint=AgentRegistry.mint):
    token = await mint(self, spawner)
    with open({folder!r} + "/credentials", "a") as file:
        file.write(token.reveal() + "\\n")
    return token
AgentRegistry.mint = remember
c.LocalDLaaSSpawner.allow_shared_uid = False
c.LocalDLaaSSpawner.system_group = {group!r}
c.LocalDLaaSSpawner.places_dir = {places!r}
c.Spawner.cmd = [{python!r}, {server!r}]
"""


def python_for_everybody(folder: Path) -> str:
    """An interpreter of this version, with the packages of this one, that other users can run too.

    What they run themselves, our package (its agent) and the small server, is a copy: the clone may lie where they
    cannot go. Fails the test where there is none.
    """
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    places = dict.fromkeys(["/usr/bin", "/usr/local/bin", *os.get_exec_path()])
    for base in [os.path.realpath(sys.executable), *(f"{place}/{name}" for place in places)]:
        if _others_can_run(base):
            break
    else:
        pytest.fail(
            f"Servers of other users need a {name} that they can run. This one ({os.path.realpath(sys.executable)}) "
            f"lies where only root can go, and there is none in {', '.join(places)}: install Debian's {name}."
        )
    subprocess.run([base, "-m", "venv", "--without-pip", folder / "python"], check=True)
    packages = folder / f"python/lib/{name}/site-packages"
    (packages / "tests.pth").write_text("".join(f"{sysconfig.get_path(kind)}\n" for kind in ("purelib", "platlib")))
    ours = Path(jupyterhub_dlaas.__file__).parent
    shutil.copytree(ours, packages / ours.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).with_name("tiny_server.py"), folder)
    for path in (folder / "tiny_server.py", packages, *packages.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return str(folder / "python/bin/python")


def _others_can_run(program: str) -> bool:
    question = f"import ctypes, ssl, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    command = [program, "-I", "-c", question]
    try:
        answer = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True)
    except OSError:
        return False
    return answer.returncode == 0


@dataclass(frozen=True)
class Account:
    """A temporary account of this machine; `python` is what its processes are started with."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: Path
    python: str

    def begin(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        """Starts a Python script as this user."""
        return subprocess.Popen(
            [self.python, "-I", "-c", script, *map(str, arguments)],
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
            cwd="/",
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: object) -> Any:
        """What a Python script, run as this user, prints as JSON."""
        process = self.begin(script, *arguments)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, said
        return json.loads(said)

    def processes(self) -> list[int]:
        return [process.pid for process in psutil.process_iter(["uids"]) if self.uid in (process.info["uids"] or ())]


class Machine:
    """The accounts of a test; `group` is the one whose members may have servers."""

    def __init__(self, folder: Path, python: str, group: str, ends: ExitStack) -> None:
        self.folder, self.python, self.group, self._ends = folder, python, group, ends

    def account(self, *, member: bool = True, system: bool = False) -> Account:
        name = f"dlt{secrets.token_hex(5)}"
        home = self.folder / "homes" / name
        options = [*(["--groups", self.group] if member else []), *(["--system"] if system else [])]
        _run("useradd", "--create-home", "--home-dir", home, "--shell", "/bin/sh", "--user-group", *options, name)
        self._ends.callback(_remove, name)
        entry = pwd.getpwnam(name)
        groups = tuple(os.getgrouplist(name, entry.pw_gid))
        return Account(name, entry.pw_uid, entry.pw_gid, groups, home, self.python)


@contextmanager
def machine() -> Iterator[Machine]:
    with ExitStack() as ends:
        # Unlike pytest's own folders, everybody can go there.
        folder = Path(tempfile.mkdtemp(prefix="dlaas-root-", dir="/var/tmp"))
        ends.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        (folder / "homes").mkdir()
        (folder / "homes").chmod(0o755)
        python = python_for_everybody(folder)
        group = f"dlt{secrets.token_hex(5)}"
        _run("groupadd", group)
        ends.callback(_run, "groupdel", group)
        yield Machine(folder, python, group, ends)


def _remove(name: str) -> None:
    uid = pwd.getpwnam(name).pw_uid
    for process in psutil.process_iter(["uids"]):
        if process.info["uids"] and uid in process.info["uids"]:  # only after a test that failed
            with suppress(psutil.Error):
                process.kill()
                process.wait(5)
    _run("userdel", name)


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"


class RootHub(HubProcess):
    """A hub run by root whose servers belong to the accounts of a machine."""

    def __init__(self, place: Machine, iam: StandInIAM) -> None:
        for name in ("eos/eulake", "scratch", "catalogue.d"):
            (place.folder / name).mkdir(parents=True, exist_ok=True)
        super().__init__(place.folder, iam.issuer_url, iam.clients["dlaas"].secret)
        self.python, self.places = place.python, place.folder / "run"
        self.config_file = place.folder / "hub.py"
        self.config_file.chmod(0o600)
        self.log_file.touch(0o600)
        with self.config_file.open("a") as config:
            config.write(
                _CONFIG.format(
                    folder=str(place.folder),
                    group=place.group,
                    places=str(self.places),
                    python=place.python,
                    server=str(place.folder / "tiny_server.py"),
                )
            )

    def _command(self, config_file: Path) -> dict[str, Any]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {
            "args": [self.python, "-m", "jupyterhub", "-f", str(config_file), "--debug"],
            "env": {**os.environ, "PATH": path, "JUPYTERHUB_CRYPT_KEY": HUBS_OWN},
            "cwd": self.folder,
            "umask": 0o077,
        }

    async def start(self) -> None:
        await self._proxy_answers()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                **self._command(self.config_file), stdout=log, stderr=log, start_new_session=True
            )
        await until(self._answers, 60, what="the hub answers")

    async def refusal(self, more: str) -> str:
        """What a hub with these further lines of configuration says before it ends."""
        other = self.folder / "refused.py"
        other.touch(0o600)
        own = f"\nc.JupyterHub.db_url = 'sqlite://'\nc.JupyterHub.hub_bind_url = 'http://127.0.0.1:{free_port()}'\n"
        other.write_text(self.config_file.read_text() + own + more)
        with pytest.raises(subprocess.CalledProcessError) as failed:
            await asyncio.to_thread(
                subprocess.run, **self._command(other), check=True, capture_output=True, text=True, timeout=40
            )
        return str(failed.value.stdout + failed.value.stderr)

    def credentials(self) -> list[str]:
        """Every agent's, oldest first."""
        with suppress(FileNotFoundError):
            self.known_secrets.update((self.folder / "credentials").read_text().split())
            return (self.folder / "credentials").read_text().split()
        return []

    def state(self, name: str) -> dict[str, Any]:
        """What the hub has written down about this user's server; nothing when there is none."""
        with closing(sqlite3.connect(f"file:{self.folder / 'hub.sqlite'}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "select spawners.state from spawners join users on users.id = user_id where users.name = ?", [name]
            )
            return {key: value for (text,) in rows for key, value in json.loads(text or "{}").items()}


class Visitor:
    """Somebody who has logged in."""

    def __init__(self, hub: RootHub, browser: Browser, name: str) -> None:
        self.hub, self.browser, self.name = hub, browser, name

    async def ask(self) -> tuple[int, str]:
        """Asks for a server: status and text of the answer, which tells how the start ended."""
        where = f"/hub/api/users/{self.name}/server"
        return await self.browser.post(where, json={"environment": "escape/root"}, headers=self._headers)

    async def start(self) -> Server:
        status, text = await self.ask()
        assert status == 201, words(text)
        state = self.hub.state(self.name)
        _, environment = await self.browser.get(f"/user/{self.name}/environ")
        return Server(
            pid=state["pid"],
            agent=state["dlaas_agent"]["pid"],
            files=Path(state["dlaas"]["files"]),
            cache=Path(state["dlaas"]["cache"]),
            environment=json.loads(environment),
        )

    async def stop(self) -> None:
        headers = {"X-XSRFToken": self.browser.xsrf(), **self._headers}
        where = f"{self.hub.url}/hub/api/users/{self.name}/server"
        async with self.browser.session.delete(where, headers=headers) as answer:
            assert answer.status in (202, 204), await answer.text()
        await until(lambda: "pid" not in self.hub.state(self.name), what="the server stops")

    @property
    def _headers(self) -> dict[str, str]:
        return {"Referer": f"{self.hub.url}/hub/home"}


@dataclass(frozen=True)
class Server:
    """A running server as root sees it."""

    pid: int
    agent: int
    files: Path
    cache: Path
    environment: dict[str, str]

    def everything(self) -> list[Path]:
        """Both folders and all that is in them now."""
        return [path for folder in (self.files, self.cache) for path in (folder, *sorted(folder.rglob("*")))]


@asynccontextmanager
async def visitor(hub: RootHub, name: str) -> AsyncIterator[Visitor]:
    async with Browser(hub) as browser:
        status, text = await browser.login(name)
        assert status == 200, words(text)
        yield Visitor(hub, browser, name)


@asynccontextmanager
async def root_hub(place: Machine, *, token_seconds: float) -> AsyncIterator[tuple[RootHub, StandInIAM]]:
    """A hub over the stand-in IAM, whose tokens live that long."""
    async with StandInIAM(settings=Settings(token_seconds=token_seconds)) as iam:
        async with RootHub(place, iam) as hub:
            yield hub, iam

"""A hub run by root: servers belong to system users, and nobody gets at anybody else's."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from support.root_mode import (
    HUBS_OWN,
    Account,
    Machine,
    RootHub,
    Server,
    Visitor,
    machine,
    root_hub,
    visitor,
)
from support.scene import until

from jupyterhub_dlaas.demo.iam import StandInIAM
from jupyterhub_dlaas.oidc.claims import unverified_claims
from jupyterhub_dlaas.oidc.secret import Secret

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="cannot apply: only root can start servers as other users"),
]
TOKEN_SECONDS = 8.0

# What of these paths a user can read or list.
READ = """
import json, os, stat, sys
got = []
for path in sys.argv[1:]:
    try:
        fd = os.open(path, os.O_RDONLY)
        os.listdir(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else os.read(fd, 1)
    except OSError as error:
        # The first page of a process's memory is not mapped: whoever gets so far may read the others.
        if not (path.endswith("/mem") and error.errno == 5):
            continue
    got.append(path)
print(json.dumps(got))
"""

# How eosxd gets at a caller's token: below the caller's root, through no link, with their uid and gid alone.
EOSXD = """
import json, os, stat, sys
pid, path, uid, gid = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
at = os.open(f"/proc/{pid}/root", os.O_RDONLY)
os.setgroups([])
os.setegid(gid)
os.seteuid(uid)
for part in path.strip("/").split("/"):
    at = os.open(part, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
about = os.fstat(at)
rules = [about.st_uid == uid, about.st_mode & 0o077 == 0, about.st_mode & 0o400 != 0]
print(json.dumps([*rules, os.read(at, 9999).decode()]))
"""

# Puts links where the hub's files were, and one into each folder.
PLANT = """
import os, sys
files, cache, *targets = sys.argv[1:]
for number, target in enumerate(targets):
    os.symlink(target, f"{files}/link{number}")
    os.symlink(target, f"{cache}/link{number}")
os.rename(f"{files}/tokens", f"{files}/aside")
os.symlink(targets[0], f"{files}/tokens")
os.rename(f"{files}/rucio/etc", f"{files}/rucio/aside")
os.symlink(targets[1], f"{files}/rucio/etc")
print("null")
"""

# Looks at every process of its own user until its input ends: which ones remove files, and which know the secret.
WATCH = """
import json, os, select, sys
removers, told = set(), set()
print("watching", flush=True)
while not select.select([0], [], [], 0)[0]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) == os.getpid() or os.stat(f"/proc/{pid}").st_uid != os.getuid():
                continue
            if b"-delete" in open(f"/proc/{pid}/cmdline", "rb").read():
                removers.add(pid)
            if sys.argv[1].encode() in open(f"/proc/{pid}/environ", "rb").read():
                told.add(pid)
        except OSError:
            pass
print(json.dumps([len(removers), len(told)]))
"""
FILL = """
import os, sys
for number in range(20000):
    os.close(os.open(f"{sys.argv[1]}/{number}", os.O_CREAT | os.O_WRONLY))
print("null")
"""


@dataclass
class Scene:
    place: Machine
    hub: RootHub
    iam: StandInIAM

    def scientist(self) -> Account:
        """A member of the VO with an account of their own on this machine."""
        account = self.place.account()
        self.iam.add_user(account.name, groups=["escape"])
        return account


@dataclass
class Pair:
    """Ada has a server; Bea is another user of the machine and the hub, and has one too."""

    ada: Account
    bea: Account
    server: Server
    visitor: Visitor


@pytest.fixture(scope="module")
def place() -> Iterator[Machine]:
    with machine() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(place: Machine) -> AsyncIterator[Scene]:
    async with root_hub(place, token_seconds=TOKEN_SECONDS) as (hub, iam):
        yield Scene(place, hub, iam)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(scene: Scene) -> AsyncIterator[Pair]:
    ada, bea = scene.scientist(), scene.scientist()
    async with visitor(scene.hub, ada.name) as one, visitor(scene.hub, bea.name) as two:
        server = await one.start()
        await two.start()
        yield Pair(ada, bea, server, one)
        await one.stop()
        await two.stop()


@pytest.fixture(autouse=True)
def credentials_are_looked_for(scene: Scene) -> Iterator[None]:
    yield
    scene.hub.credentials()


# ---- whose they are


@pytest.mark.parametrize("what", ["pid", "agent"])
async def test_server_and_agent_are_the_users_with_their_groups(pair: Pair, what: str) -> None:
    process = psutil.Process(getattr(pair.server, what))
    assert set(process.uids()) == {pair.ada.uid}
    assert set(process.gids()) == {pair.ada.gid}
    status = Path(f"/proc/{process.pid}/status").read_text()
    groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
    assert set(map(int, groups)) == set(pair.ada.groups)
    assert len(groups) > 1


async def test_the_notebook_is_at_home(pair: Pair) -> None:
    assert (pair.server.environment["HOME"], pair.server.environment["USER"]) == (str(pair.ada.home), pair.ada.name)
    assert os.readlink(f"/proc/{pair.server.pid}/cwd") == str(pair.ada.home)


async def test_every_file_is_the_users_and_closed(pair: Pair) -> None:
    found = {path: path.lstat() for path in pair.server.everything()}
    assert {"rucio", "eos-eulake", "token", "rucio.cfg", "status.json"} <= {path.name for path in found}
    assert {(about.st_uid, about.st_gid) for about in found.values()} == {(pair.ada.uid, pair.ada.gid)}
    modes = {stat.S_IFMT(about.st_mode): stat.S_IMODE(about.st_mode) for about in found.values()}
    assert modes == {stat.S_IFDIR: 0o700, stat.S_IFREG: 0o600}
    assert len({stat.S_IMODE(about.st_mode) for about in found.values()}) == 2


async def test_their_folders_lie_in_one_of_roots(pair: Pair) -> None:
    about = pair.server.files.parent.stat()
    assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (0, 0o755)


# ---- EOS


def eosxd(pair: Pair, account: Account) -> subprocess.CompletedProcess[str]:
    path = pair.server.environment["OAUTH2_TOKEN"].removeprefix("FILE:")
    arguments = [str(part) for part in (pair.server.pid, path, account.uid, account.gid)]
    return subprocess.run([account.python, "-I", "-c", EOSXD, *arguments], capture_output=True, text=True)


async def test_eosxd_takes_the_token(pair: Pair) -> None:
    *rules, content = json.loads(eosxd(pair, pair.ada).stdout)
    assert rules == [True, True, True]
    kind, token, resource = content.split(":")
    assert (kind, resource) == ("oauth2", "iam.example.org/userinfo")
    assert "eos-eulake" in str(unverified_claims(Secret(token))["aud"])


async def test_eosxd_takes_it_for_nobody_else(pair: Pair) -> None:
    assert "PermissionError" in eosxd(pair, pair.bea).stderr


# ---- what others see


async def test_another_user_reads_and_lists_nothing(pair: Pair) -> None:
    everything = pair.server.everything()
    assert len(pair.ada.run(READ, *everything)) == len(everything)
    assert pair.bea.run(READ, *everything) == []


async def test_another_user_does_not_see_the_notebooks_environment(pair: Pair) -> None:
    secret = [f"/proc/{pair.server.pid}/{name}" for name in ("environ", "mem", "fd")]
    assert pair.ada.run(READ, *secret) == secret
    assert pair.bea.run(READ, *secret) == []


async def test_nobody_reads_the_agents_credential_not_even_its_user(scene: Scene, pair: Pair) -> None:
    secret = [f"/proc/{pair.server.agent}/{name}" for name in ("environ", "mem", "fd")]
    assert pair.ada.run(READ, *secret) == []
    assert pair.bea.run(READ, *secret) == []
    proc = Path(f"/proc/{pair.server.agent}")
    seen = proc.joinpath("cmdline").read_bytes() + proc.joinpath("environ").read_bytes()
    assert b"jupyterhub_dlaas.agent" in seen
    assert scene.hub.credentials()
    assert not [token for token in scene.hub.credentials() if token.encode() in seen]


async def test_what_the_hub_keeps_is_closed_to_users(scene: Scene, pair: Pair) -> None:
    kept = [scene.hub.folder / name for name in ("hub.sqlite", "hub.py", "credentials")]
    assert scene.hub.process is not None
    assert pair.ada.run(READ, *kept, f"/proc/{scene.hub.process.pid}/environ") == []


# ---- while it runs


async def test_tokens_are_renewed_and_never_missing_or_expired(scene: Scene, pair: Pair) -> None:
    path, seen, times = pair.server.files / "tokens/rucio", set[str](), set[int]()

    def renewed_three_times() -> bool:
        token = path.read_text()
        assert unverified_claims(Secret(token))["exp"] > scene.iam.clock.now()
        seen.add(token)
        times.add(path.stat().st_mtime_ns)
        return len(seen) == 4

    await until(renewed_three_times, 5 * TOKEN_SECONDS)
    assert len(times) == 4
    about = path.stat()
    assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (pair.ada.uid, 0o600)


async def test_a_restarted_hub_keeps_the_agent(scene: Scene, pair: Pair) -> None:
    path, known = pair.server.files / "tokens/rucio", len(scene.hub.credentials())
    await scene.hub.kill()
    await scene.hub.start()
    before = path.read_text()
    await until(lambda: path.read_text() != before, 3 * TOKEN_SECONDS)
    state = scene.hub.state(pair.ada.name)
    assert (state["pid"], state["dlaas_agent"]["pid"]) == (pair.server.pid, pair.server.agent)
    assert psutil.Process(pair.server.agent).status() != psutil.STATUS_ZOMBIE
    assert len(scene.hub.credentials()) == known


# ---- the end


async def test_a_stop_leaves_no_process_and_no_file(scene: Scene) -> None:
    account = scene.scientist()
    async with visitor(scene.hub, account.name) as somebody:
        server = await somebody.start()
        assert {server.pid, server.agent} <= set(account.processes())
        await somebody.stop()
    await until(lambda: account.processes() == [])  # of those killed some are init's to bury
    assert not server.files.exists()
    assert not server.cache.exists()


async def test_links_planted_by_the_user_lead_nobody_outside(scene: Scene) -> None:
    account = scene.scientist()
    roots, open_to_all, own = scene.hub.folder / "roots", scene.hub.folder / "open", account.home / "precious"
    for folder, mode in ((roots, 0o755), (open_to_all, 0o777), (own, 0o700)):
        folder.mkdir()
        folder.chmod(mode)
        (folder / "rucio").write_text("precious")
        (folder / "rucio.cfg").write_text("precious")
    for path in (own, *own.iterdir()):
        os.chown(path, account.uid, account.gid)
    targets = (own, open_to_all, roots)

    def outside() -> list[tuple[str, int, int, int, str]]:
        found = [path for folder in targets for path in (folder, *sorted(folder.iterdir()))]
        return [
            (str(path), about.st_mode, about.st_uid, about.st_mtime_ns, "" if path.is_dir() else path.read_text())
            for path, about in ((path, path.lstat()) for path in found)
        ]

    before = outside()
    async with visitor(scene.hub, account.name) as somebody:
        server = await somebody.start()
        account.run(PLANT, server.files, server.cache, *targets)
        issued = scene.iam.counters.granted["exchange"]
        await until(lambda: scene.iam.counters.granted["exchange"] > issued + 1)  # so that its agent writes again
        assert outside() == before
        await somebody.stop()
    assert outside() == before
    assert not server.files.exists()
    assert not server.cache.exists()


async def test_what_clears_up_as_the_user_tells_them_nothing_of_the_hubs(scene: Scene) -> None:
    account = scene.scientist()
    async with visitor(scene.hub, account.name) as somebody:
        server = await somebody.start()
        account.run(FILL, server.cache)
        watcher = account.begin(WATCH, HUBS_OWN)
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watching\n"
        await somebody.stop()
        said, _ = watcher.communicate(timeout=10)
    removers, told = json.loads(said)
    assert removers > 0
    assert told == 0
    assert not server.cache.exists()


# ---- who gets nothing


async def refused(scene: Scene, name: str) -> str:
    """The sentence with which the user of that name is refused a server."""
    before = sorted(os.listdir(scene.hub.places)) if scene.hub.places.exists() else []
    known = len(scene.hub.credentials())
    scene.iam.add_user(name, groups=["escape"])
    async with visitor(scene.hub, name) as somebody:
        status, text = await somebody.ask()
    assert status == 403, text
    assert (sorted(os.listdir(scene.hub.places)) if scene.hub.places.exists() else []) == before
    assert len(scene.hub.credentials()) == known
    return str(json.loads(text)["message"])


async def test_a_system_account_gets_nothing_even_as_a_member_of_the_group(scene: Scene) -> None:
    service = scene.place.account(system=True)
    assert service.uid < 1000
    assert "below 1000" in await refused(scene, service.name)
    assert service.processes() == []


async def test_root_gets_nothing(scene: Scene) -> None:
    assert "below 1000" in await refused(scene, "root")


async def test_who_is_not_in_the_group_gets_nothing(scene: Scene) -> None:
    stranger = scene.place.account(member=False)
    assert f"not a member of the group {scene.place.group}" in await refused(scene, stranger.name)
    assert stranger.processes() == []


async def test_who_has_no_account_gets_nothing(scene: Scene) -> None:
    assert "no system account" in await refused(scene, "dlt-nobody-of-this-name")


# ---- settings with which no server can start


async def test_without_a_system_group_the_hub_does_not_start(scene: Scene) -> None:
    said = await scene.hub.refusal("\ndel c.LocalDLaaSSpawner.system_group\n")
    assert "The hub cannot start: c.LocalDLaaSSpawner.system_group" in said
    assert "Traceback" not in said


async def test_folders_below_one_that_a_user_owns_are_refused(scene: Scene, pair: Pair) -> None:
    places = pair.ada.home / "run"
    said = await scene.hub.refusal(f"\nc.LocalDLaaSSpawner.places_dir = {str(places)!r}\n")
    assert "The hub cannot start: c.LocalDLaaSSpawner.places_dir" in said
    assert str(pair.ada.home) in said
    assert not places.exists()

"""Somebody with a data lake server: real files in `DLAAS_DIR`, a real token, the real command in a subprocess."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rucio.client import Client

from jupyterhub_dlaas.bundle.environment import UNSET, environment
from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.bundle.render import render
from jupyterhub_dlaas.bundle.token import TokenState
from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.catalogue.load import parse
from jupyterhub_dlaas.catalogue.offer import Choice, Offer
from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.oidc.secret import Secret
from support.leaks import JWT
from support.rucio_lake import BackgroundIAM, client_of, path_of

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


class AnyLake(Protocol):
    """What a user needs of a lake. `catalogue(scratch, below)` is a VO's catalogue with one environment, whose scratch
    storage is `scratch`, the folder `below` of the scratch RSE; see `tests/rucio/conftest.py`."""

    url: str
    mount: Path
    remote: str
    iam: BackgroundIAM
    root: Client

    def scratch_folder(self) -> Path: ...

    def catalogue(self, scratch: Path, below: str) -> str: ...


class LakeUser:
    """A person with a running server. Folder, scratch and names are their own, unlike any other test's.

    `environ`: the server's environment; `mount`: the mounted RSE as they see it; `scratch`: their own folder, empty.
    """

    def __init__(self, lake: AnyLake, name: str, folder: Path) -> None:
        self.lake, self.name, self.folder = lake, name, folder
        self.account, self.scope = name, f"user.{name}"
        self.unique = f"t{os.getpid()}-{next(_NUMBERS)}"
        self.mount = lake.mount
        # As a pod with `per_user` sees it: the user's own folder of a space of which they see no more.
        self.scratch = lake.scratch_folder() / self.unique / name
        for place in (self.scratch, folder / "home", folder / "tmp"):
            place.mkdir(parents=True)
        self.places = Places(str(folder / "dlaas"), str(folder / "cache"))
        self.token_seconds = 3600.0
        self.choice = self._choice(lake.catalogue(self.scratch, self.unique))
        base = {key: value for key, value in os.environ.items() if key not in UNSET and not key.startswith("RUCIO")}
        base |= {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "USER": name,
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "SCRATCH": str(self.scratch),
        }
        self.environ = base | environment(self.choice, self.places, base)
        self.renew()

    @staticmethod
    def _choice(catalogue: str) -> Choice:
        found = parse(catalogue, "tests.yaml")
        first = found.environments[0]
        return Choice(Offer(found.vo, first, found, Grant(trusted=True, groups={"escape"})), None, None, "oidc")

    # ------------------------------------------------------------------ the server's files

    def renew(self, **tokens: str) -> None:
        """All files anew, as after a renewal by the hub. A token may be given by the name of its audience."""
        now = time.time()
        states = {
            key: TokenState(key, Secret(tokens.get(key) or self.token(key)), now + self.token_seconds, now)
            for key in self.choice.offer.audiences
        }
        for file in render(
            self.choice,
            states,
            self.places,
            user=self.name,
            account=self.account,
            auth_type="oidc",
            server="",
            folder=self.name,
        ):
            path = Path(self.places.files_dir if file.root == "files" else self.places.cache_dir) / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.part")
            partial.write_bytes(file.content)
            partial.chmod(file.mode)
            partial.replace(path)

    def token(self, key: str) -> str:
        """A token for this audience, as the hub gets it."""
        return self.lake.iam.token(self.name, key, seconds=self.token_seconds)

    @property
    def token_file(self) -> Path:
        return Path(self.places.token("rucio"))

    def spoil_token(self, kind: Literal["expired", "garbage"]) -> None:
        """From now on the token file holds one that Rucio refuses; `renew()` mends it."""
        spoilt = self.lake.iam.token(self.name, "rucio", seconds=-60) if kind == "expired" else "eyJub3QiOiJhIn0.e30.x"
        self.token_file.write_text(spoilt)

    def change_lake(self, **fields: Any) -> None:
        """Other values for top-level fields of datalake.json, such as `baskets`, until `renew()`."""
        path = Path(self.places.files_dir) / "datalake.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def change_instance(self, **fields: Any) -> None:
        """The same for the first Rucio instance, such as `rucio_host`."""
        path = Path(self.places.files_dir) / "datalake.json"
        instances = json.loads(path.read_text())["instances"]
        self.change_lake(instances=[{**instances[0], **fields}, *instances[1:]])

    # ------------------------------------------------------------------ what they do

    def client(self) -> Client:
        """A plain Rucio client of theirs, for what a test itself wants to know."""
        folder = self.folder / f"client-{next(_NUMBERS)}"
        kept = Path(f"{folder}/.rucio_{_me()}")
        kept.mkdir(parents=True)
        (kept / f"auth_token_for_account_{self.account}").write_text(self.token("rucio"))
        return client_of(folder, self.lake.url, self.account, auth_type="oidc")

    def datalake(
        self, *args: object, input: str | None = None, timeout: float = 120, env: Mapping[str, str] | None = None
    ) -> Done:
        """`datalake ARGS` in a new empty folder; `input` on standard input, which is otherwise empty."""
        done = subprocess.run(
            self._command(args),
            env={**self.environ, **(env or {})},
            cwd=self.workplace(),
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not JWT.search(done.stdout + done.stderr), f"datalake {args} printed a token"
        return Done(done.returncode, done.stdout, done.stderr)

    def start_datalake(self, *args: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """The same, still running, for a test that interrupts it: a process group of its own, pipes for its output."""
        return subprocess.Popen(
            self._command(args),
            env={**self.environ, **(env or {})},
            cwd=self.workplace(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def _command(args: tuple[object, ...]) -> list[str]:
        return [str(Path(sys.executable).with_name("datalake")), *map(str, args)]

    def workplace(self) -> Path:
        """A new empty folder."""
        place = self.folder / f"work-{next(_NUMBERS)}"
        place.mkdir()
        return place

    # ------------------------------------------------------------------ data

    def name_of(self, what: str) -> str:
        """A name that no other test has."""
        return f"{what}-{self.unique}-{next(_NUMBERS)}"

    def make_dataset(
        self, n_files: int = 3, bytes: int = 1000, rse: str | None = None, scope: str | None = None
    ) -> DID:
        """A dataset in the user's scope with real files on `rse` (the remote site), kept there by a rule of root's."""
        lake, scope, rse = self.lake, scope or self.scope, rse or self.lake.remote
        dataset = DID(scope, self.name_of("dataset"))
        contents = {f"{dataset.name}.{number:05d}": _content(dataset.name, number, bytes) for number in range(n_files)}
        files = [
            {
                "scope": scope,
                "name": name,
                "bytes": len(content),
                "adler32": f"{zlib.adler32(content):08x}",
                "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            }
            for name, content in contents.items()
        ]
        lake.root.add_replicas(rse, [dict(file) for file in files])
        for replica in lake.root.list_replicas([{"scope": scope, "name": name} for name in contents]):
            path = path_of(replica["rses"][rse][0])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[replica["name"]])
        lake.root.add_dataset(scope, dataset.name)
        lake.root.attach_dids(scope, dataset.name, [{"scope": scope, "name": name} for name in contents])
        lake.root.add_replication_rule([dataset.as_dict()], 1, rse)
        return dataset

    def write_scratch(self, files: Mapping[str, bytes]) -> list[Path]:
        """Files in their scratch, by path below it."""
        for name, content in files.items():
            path = self.scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return [self.scratch / name for name in files]


def _content(name: str, number: int, size: int) -> bytes:
    return random.Random(f"{name}/{number}").randbytes(size)


def _me() -> str:
    import getpass

    return getpass.getuser()

"""What `datalake status` finds out: the hub's status.json, held against the files, Rucio and the mounts themselves."""

from __future__ import annotations

import configparser
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.bundle import paths
from jupyterhub_dlaas.datalake.advice import ADVICE, Problem, token_advice
from jupyterhub_dlaas.datalake.failure import Failure
from jupyterhub_dlaas.datalake.lake import Instance, Lake, load
from jupyterhub_dlaas.datalake.probe import problem_of
from jupyterhub_dlaas.datalake.token_file import expiry
from jupyterhub_dlaas.datalake.whoami import whoami


class NoDataLake(Exception):
    """This is no data lake server, or its files are not there; the message is a sentence."""


@dataclass(frozen=True)
class Access:
    """One audience. `valid_until`: its token file's own expiry, epoch seconds; None without a token that says it."""

    name: str
    used_by: tuple[str, ...]
    valid_until: float | None
    last_renewal: str | None
    works: bool
    problem: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Account:
    """One Rucio instance, and who it says the user is: "" when it does not say, or had no token to be asked with."""

    name: str
    display_name: str
    host: str
    account: str
    problem: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Quota:
    """What the user has on one storage (RSE) of a Rucio instance, in bytes; `limit` None: no quota is set."""

    instance: str
    rse: str
    used: int
    limit: int | None
    files: int
    problem: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Folder:
    """One mounted folder as this process finds it now."""

    name: str
    path: str
    alive: bool
    problem: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """Everything `datalake status` shows. `withheld` says why a shared server has no access, or is empty."""

    user: str
    environment: str
    server: str
    withheld: str
    access: tuple[Access, ...]
    rucio: tuple[Account, ...]
    mounts: tuple[Folder, ...]
    cache_site: str | None
    quotas: tuple[Quota, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is not well, each with what to do about it."""
        about: list[tuple[str, Access | Account | Folder | Quota]]
        about = [(f"Access to {entry.name}", entry) for entry in self.access]
        about += [(f"Rucio at {entry.host}", entry) for entry in self.rucio]
        about += [(entry.path, entry) for entry in self.mounts]
        about += [(f"Quota at {entry.rse}", entry) for entry in self.quotas]
        found = [Problem(name, entry.problem, entry.advice) for name, entry in about if entry.problem and entry.advice]
        return (Problem("This server", self.withheld, ADVICE["withheld"]), *found) if self.withheld else tuple(found)

    def as_json(self) -> dict[str, Any]:
        """For `--json`: instants as ISO 8601 in UTC."""
        problems = self.problems
        data = {"ok": not problems, **asdict(self), "problems": [asdict(problem) for problem in problems]}
        for entry in data["access"]:
            seconds = entry["valid_until"]
            entry["valid_until"] = None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
        return data


def collect(environ: Mapping[str, str], *, rucio_seconds: float = 20, mount_seconds: float = 5) -> Report:
    """Looks at everything at once, so that it takes no longer than the longer of the two limits.

    Raises NoDataLake when `DLAAS_DIR` is not set or holds no status.json.
    """
    if not environ.get("DLAAS_DIR"):
        raise NoDataLake(
            "This is not a data lake server: DLAAS_DIR is not set. "
            "Run it in a terminal or notebook of a server that you started at the hub."
        )
    folder = Path(environ["DLAAS_DIR"])
    status = _status(folder)
    access = {key: _access(folder, key, status, time.time()) for key in status["audiences"]}
    with ThreadPoolExecutor(max_workers=16) as pool:
        rucio = pool.map(
            lambda index: _account(folder, status, access, index, rucio_seconds), range(len(status["rucio"]))
        )
        mounts = pool.map(lambda mount: _folder(mount, mount_seconds), status["mounts"])
        lake = _lake(environ)
        working = [] if lake is None else [entry for entry in lake.instances if _has_access(entry, status, access)]
        quotas = pool.map(lambda instance: _quotas(lake, instance, environ, rucio_seconds), working)
        return Report(
            user=status["user"],
            environment=status["environment"],
            server=status["server"],
            withheld=status["withheld"],
            access=tuple(access.values()),
            rucio=tuple(rucio),
            mounts=tuple(mounts),
            cache_site=lake.xcache_site if lake else environ.get("SITE_NAME"),
            quotas=tuple(chain.from_iterable(quotas)),
        )


def _status(folder: Path) -> dict[str, Any]:
    try:
        status = json.loads((folder / paths.STATUS).read_bytes())
    except (OSError, ValueError) as error:
        raise NoDataLake(
            f"{folder / paths.STATUS} cannot be read ({type(error).__name__}): the server's access to the data lake "
            "was not set up. Stop and start the server."
        ) from error
    if not isinstance(status, dict) or status.get("version") != 1:
        raise NoDataLake(f"{folder / paths.STATUS} is of another release than this command: update the image.")
    return status


def _access(folder: Path, key: str, status: Mapping[str, Any], now: float) -> Access:
    entry = status["audiences"][key]
    problem = entry["problem"]
    try:
        token = (folder / paths.token(key)).read_text()
    except (OSError, ValueError):
        token = ""
    until = expiry(token)
    works = bool(token) and (until is None or until > now)
    sentence = problem["sentence"] if problem else "" if works else "Its token has expired." if token else "No token."
    return Access(
        name=key,
        used_by=tuple(entry["used_by"]),
        valid_until=until,
        last_renewal=entry["last_renewal"],
        works=works,
        problem="" if status["withheld"] else sentence,
        advice=token_advice(problem) if sentence else "",
    )


def _account(
    folder: Path, status: Mapping[str, Any], access: Mapping[str, Access], index: int, limit_seconds: float
) -> Account:
    """The first instance is asked as the `rucio` command would; the others with what differs."""
    instance = status["rucio"][index]
    oidc = status["auth_type"] == "oidc"

    def answer(account: str = "", problem: str = "", kind: str = "") -> Account:
        name, title, host = instance["name"], instance["display_name"], instance["rucio_host"]
        return Account(name, title, host, account, problem, ADVICE.get(kind, ""))

    if oidc and not access[instance["audience"]].works:
        return answer(problem=f"Not asked, for want of access to {instance['audience']}.")
    said = whoami(_client(folder, instance, oidc=oidc) if index else None, limit_seconds=limit_seconds)
    detail = f" ({said.detail})" if said.detail else ""
    if said.outcome == "ok":
        if status["account"] and said.account != status["account"]:
            expected = status["account"]
            return answer(said.account, f"It knows you as {said.account}, not as {expected}.", "other_account")
        return answer(said.account)
    if said.outcome == "refused":
        return answer(problem=f"It does not accept your sign-in{detail}.", kind="refused")
    if said.outcome == "unreachable":
        return answer(problem=f"It cannot be reached{detail}.", kind="unreachable")
    return answer(problem=f"The Rucio client failed{detail}.", kind="error" if oidc else "certificate")


def _lake(environ: Mapping[str, str]) -> Lake | None:
    """What the other commands work with; None in a server whose hub is older than they are."""
    try:
        return load(environ)
    except Failure:
        return None


def _has_access(instance: Instance, status: Mapping[str, Any], access: Mapping[str, Access]) -> bool:
    if status["auth_type"] != "oidc":
        return not status["withheld"]
    return instance.token is not None and instance.token.name in access and access[instance.token.name].works


def _quotas(lake: Any, instance: Instance, environ: Mapping[str, str], limit_seconds: float) -> list[Quota]:
    """Nothing where Rucio does not answer: that is said of its account already."""
    from rucio.common.exception import RucioException

    from jupyterhub_dlaas.datalake.rucio_client import LakeClient
    from jupyterhub_dlaas.datalake.usage import usages

    try:
        client = LakeClient(lake, instance, timeout=limit_seconds * 0.8, environ=environ)
        client.pauses = ()
        found = usages(client)
    except (Failure, RucioException, OSError):
        return []
    return [
        Quota(
            instance.name,
            usage.rse,
            usage.used,
            usage.limit,
            usage.files,
            "It is used up." if usage.is_full else "",
            ADVICE["quota"] if usage.is_full else "",
        )
        for usage in found
    ]


def _client(folder: Path, instance: Mapping[str, Any], *, oidc: bool) -> dict[str, str]:
    config = configparser.ConfigParser()
    config.read(folder / paths.RUCIO_CFG)
    client = dict(config["client"]) if config.has_section("client") else {}
    different = {key: instance[key] for key in ("rucio_host", "auth_host", "ca_cert", "vo")}
    if oidc:
        different["auth_token_file_path"] = str(folder / paths.token(instance["audience"]))
    return {key: value for key, value in {**client, **different}.items() if value}


def _folder(mount: Mapping[str, Any], limit_seconds: float) -> Folder:
    problem = problem_of(mount["path"], limit_seconds=limit_seconds)
    return Folder(mount["name"], mount["path"], not problem, problem, ADVICE["mount"] if problem else "")

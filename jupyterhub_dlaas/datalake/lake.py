"""The data lake as this server knows it: `$DLAAS_DIR/datalake.json`, read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.bundle import paths
from jupyterhub_dlaas.datalake.failure import Code, Failure

FILE = paths.DATALAKE  # relative to $DLAAS_DIR
VERSION = 1


@dataclass(frozen=True)
class StorageToken:
    """The token file for the storages (RSEs) whose name the pattern `rse` matches, as in `CNAF-*`."""

    rse: str
    token: Path


@dataclass(frozen=True)
class Instance:
    """One Rucio. In mode `replica` the storage `destination_rse` is mounted here at `mount`; in `download` none is.

    `token` is None when the sign-in is not by token. A local path is `mount` and the path of the physical file name
    without its first `path_begins_at` components. `lifetime_days`: of a rule that makes data available here.
    """

    name: str
    display_name: str
    rucio_host: str
    auth_host: str
    ca_cert: str | None
    vo: str | None
    app_id: str | None
    token: Path | None
    mode: str
    destination_rse: str | None
    mount: Path | None
    path_begins_at: int
    lifetime_days: int | None
    storage_tokens: tuple[StorageToken, ...]

    def storage_token(self, rse: str) -> Path | None:
        """The token file for the storage of this name, by the first pattern that matches; None: it needs none."""
        return next((entry.token for entry in self.storage_tokens if fnmatchcase(rse, entry.rse)), None)


@dataclass(frozen=True)
class Scratch:
    """A scratch folder of this server; `rse`, where it is one in Rucio, whose prefix and `rse_path` lead to `path`."""

    name: str
    path: Path
    rse: str | None
    rse_path: str


@dataclass(frozen=True)
class Basket:
    """A shopping basket of data: the service at `url`, spoken to by the connector of that name."""

    name: str
    display_name: str
    connector: str
    url: str
    token: Path | None


@dataclass(frozen=True)
class Lake:
    """Everything `datalake` works with in this server; the first instance is meant unless another is named."""

    user: str
    account: str
    auth_type: str
    xcache_site: str | None
    instances: tuple[Instance, ...]
    scratch: tuple[Scratch, ...]
    baskets: tuple[Basket, ...]

    def instance(self, name: str | None = None) -> Instance:
        """The instance of this name, or the first; a Failure lists the names when there is none such."""
        if not self.instances:
            raise Failure(
                "The environment of this server has no Rucio.",
                "Start a server with an environment that has one.",
                Code.USAGE,
            )
        if name is None:
            return self.instances[0]
        for instance in self.instances:
            if instance.name == name:
                return instance
        names = ", ".join(instance.name for instance in self.instances)
        raise Failure(f"This server has no Rucio instance {name!r}.", f"It has: {names}.", Code.USAGE)


def load(environ: Mapping[str, str] = os.environ) -> Lake:
    """The lake of this server. A Failure (USAGE) where there is none, or where its file is not one of this release."""
    if not environ.get("DLAAS_DIR"):
        raise Failure(
            "This is not a data lake server: DLAAS_DIR is not set.",
            "Run it in a terminal or notebook of a server that you started at the hub.",
            Code.USAGE,
        )
    path = Path(environ["DLAAS_DIR"]) / FILE
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Failure(
            f"{path} cannot be read ({type(error).__name__}): the server's access to the data lake was not set up.",
            "Stop and start the server.",
            Code.USAGE,
        ) from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise Failure(f"{path} is of another release than this command.", "Update the image.", Code.USAGE)
    return Lake(
        user=data["user"],
        account=data["account"],
        auth_type=data["auth_type"],
        xcache_site=data.get("xcache_site"),
        instances=tuple(_instance(entry) for entry in data.get("instances", ())),
        scratch=tuple(
            Scratch(entry["name"], Path(entry["path"]), entry.get("rse"), entry.get("rse_path") or "")
            for entry in data.get("scratch", ())
        ),
        baskets=tuple(
            Basket(
                entry["name"],
                entry.get("display_name") or entry["name"],
                entry["connector"],
                entry["url"],
                _path(entry.get("token")),
            )
            for entry in data.get("baskets", ())
        ),
    )


def _instance(entry: Mapping[str, Any]) -> Instance:
    return Instance(
        name=entry["name"],
        display_name=entry.get("display_name") or entry["name"],
        rucio_host=entry["rucio_host"],
        auth_host=entry.get("auth_host") or entry["rucio_host"],
        ca_cert=entry.get("ca_cert"),
        vo=entry.get("vo"),
        app_id=entry.get("app_id"),
        token=_path(entry.get("token")),
        mode=entry["mode"],
        destination_rse=entry.get("destination_rse"),
        mount=_path(entry.get("mount")),
        path_begins_at=entry.get("path_begins_at") or 0,
        lifetime_days=entry.get("lifetime_days"),
        storage_tokens=tuple(
            StorageToken(token["rse"], Path(token["token"])) for token in entry.get("storage_tokens") or ()
        ),
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None

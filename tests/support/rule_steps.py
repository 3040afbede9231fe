"""What tests of rules ask of Rucio and of its disks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyterhub_dlaas.datalake.dids import DID
from support.faults import FaultyProxy, faulty_proxy
from support.lake_user import LakeUser


def rules_of(user: LakeUser, did: DID, rse: str | None = None) -> list[dict]:
    """What Rucio itself has of this user's for these data."""
    filters = {"account": user.account, **did.as_dict(), **({"rse_expression": rse} if rse else {})}
    return list(user.lake.root.list_replication_rules(filters))


def readable(user: LakeUser, did: DID, rse: str) -> bool:
    """Whether every file of it is on the disk of this RSE."""
    files = list(user.lake.root.list_files(did.scope, did.name))
    return all(user.lake.path(rse, file["scope"], file["name"]).stat().st_size == file["bytes"] for file in files)


def sources(user: LakeUser, did: DID, rse: str) -> list[Path]:
    """Where the files of it lie."""
    return [user.lake.path(rse, file["scope"], file["name"]) for file in user.lake.root.list_files(did.scope, did.name)]


@contextmanager
def through(user: LakeUser) -> Iterator[FaultyProxy]:
    """The user reaches Rucio through a proxy that a test may spoil."""
    with faulty_proxy(user.lake.url) as proxy:
        user.change_instance(rucio_host=proxy.url, auth_host=proxy.url)
        yield proxy
        user.change_instance(rucio_host=user.lake.url, auth_host=user.lake.url)

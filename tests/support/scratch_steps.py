"""Upload from scratch step by step with Rucio's own client, and a bare request with a user's token."""

from __future__ import annotations

import zlib

import requests

from support.lake_user import LakeUser


def register(user: LakeUser, files: dict[str, bytes], *, lifetime: int | None = None) -> tuple[str, list[str], str]:
    """Files in the user's scratch, registered where they lie, in a dataset with a rule: (dataset, names, rule).

    The dataset is filled before it gets its rule: a rule on an empty one is OK at once, and so would count as done.
    """
    client, rse = user.client(), user.lake.scratch
    paths = user.write_scratch(files)
    prefix = f"file://localhost{user.lake.scratch_folder()}/"
    below = user.lake.scratch_folder()
    replicas = [
        {
            "scope": user.scope,
            "name": user.name_of("file"),
            "bytes": path.stat().st_size,
            "adler32": f"{zlib.adler32(path.read_bytes()):08x}",
            "pfn": f"{prefix}{path.relative_to(below)}",
        }
        for path in paths
    ]
    names = [replica["name"] for replica in replicas]
    dataset = user.name_of("dataset")
    client.add_replicas(rse, replicas)
    client.add_dataset(user.scope, dataset)
    client.attach_dids(user.scope, dataset, [{"scope": user.scope, "name": name} for name in names])
    (rule,) = client.add_replication_rule([{"scope": user.scope, "name": dataset}], 1, rse, lifetime=lifetime)
    return dataset, names, rule


def rule_to(user: LakeUser, rse_expression: str, dataset: str) -> str:
    (rule,) = user.client().add_replication_rule([{"scope": user.scope, "name": dataset}], 1, rse_expression)
    return str(rule)


def refused(user: LakeUser, method: str, path: str, body: dict[str, object]) -> bool:
    return ask(user, method, path, body) == (401, "AccessDenied")


def ask(user: LakeUser, method: str, path: str, body: dict[str, object]) -> tuple[int, str]:
    """Status and exception of a bare request: Rucio's client takes a 401 for a bad token, and asks for a new one."""
    headers = {"X-Rucio-Auth-Token": user.token("rucio"), "X-Rucio-Account": user.account}
    answer = requests.request(method, f"{user.lake.url}/{path}", json=body, headers=headers, timeout=30)
    return answer.status_code, answer.headers.get("ExceptionClass", "")

"""Whether there is room for data at a destination, asked before anything is registered."""

from __future__ import annotations

from typing import Any

from jupyterhub_dlaas.datalake.console import size
from jupyterhub_dlaas.datalake.failure import Code, Failure

_TOLD = 5  # storages that a message lists


def check_room(client: Any, rse_expression: str, wanted: int, *, copies: int = 1) -> list[str]:
    """The storages of the expression that have room, the one with most of it first.

    A Failure where fewer than `copies` can take `wanted` bytes of this account.

    The same comparison as Rucio's own when it makes a rule, which comes too late for files that are registered by then.
    Limits over several storages together are left to Rucio.
    """
    from rucio.common.exception import InvalidRSEExpression

    try:
        rses = sorted(entry["rse"] for entry in client.list_rses(rse_expression))
    except InvalidRSEExpression:
        rses = []
    if not rses:
        raise _no_such(client, rse_expression)
    if len(rses) < copies:
        raise Failure(
            f"{copies} copies are asked for, and the storages of {rse_expression} are {len(rses)}.",
            "Ask for fewer copies, or name more storages, as in: QOS=SAFE|QOS=FAST",
            Code.USAGE,
        )
    used = {entry["rse"]: entry for entry in client.get_local_account_usage(client.account)}
    left = {rse: _left(used.get(rse)) for rse in rses}
    roomy = sorted((rse for rse in rses if left[rse] >= wanted), key=lambda rse: -left[rse])
    if len(roomy) >= copies:
        return roomy
    if _unlimited(client, rses):
        return rses
    shown = "; ".join(f"{rse} has {_shown(left[rse])} left for you" for rse in rses[:_TOLD])
    raise Failure(
        f"Your quota does not suffice for {size(wanted)}: {shown}. Nothing was registered.",
        "Let rules that you no longer need end (datalake rules), or ask your VO's data managers for more.",
        Code.NO_SPACE,
    )


def _left(usage: dict[str, Any] | None) -> float:
    return float(usage["bytes_remaining"]) if usage and usage.get("bytes_limit") else 0.0


def _shown(left: float) -> str:
    return size(left) if left > 0 else "nothing"


def _unlimited(client: Any, rses: list[str]) -> bool:
    """Administrators need no quota, and storages for tests have none."""
    for attributes in client.list_account_attributes(client.account):
        if any(entry["key"] == "admin" and entry["value"] for entry in attributes):
            return True
    return any(client.list_rse_attributes(rse).get("mock") for rse in rses[:_TOLD])


def _no_such(client: Any, rse_expression: str) -> Failure:
    from jupyterhub_dlaas.datalake.qos import ATTRIBUTE, classes

    name, equals, qos = rse_expression.partition("=")
    if equals and name == ATTRIBUTE:
        listed = "; ".join(f"{key} ({', '.join(there[:_TOLD])})" for key, there in classes(client).items())
        advice = f"There are: {listed}" if listed else "No storage of this Rucio has a class (the attribute QOS)."
        return Failure(f"No storage is of the class {qos}.", advice, Code.NOT_FOUND)
    return Failure(f"No storage matches {rse_expression!r}.", "Check the name of the storage.", Code.NOT_FOUND)

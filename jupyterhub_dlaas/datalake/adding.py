"""Asking Rucio for a rule, and saying in a sentence why it refuses one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jupyterhub_dlaas.datalake.console import size
from jupyterhub_dlaas.datalake.dids import DID, unknown
from jupyterhub_dlaas.datalake.failure import Code, Failure, words_of
from jupyterhub_dlaas.datalake.qos import ATTRIBUTE, classes

_MEASURED = 20  # DIDs whose sizes are asked for a message; each is a request


def add_rule(
    client: Any,
    dids: Sequence[DID],
    rse_expression: str,
    *,
    copies: int = 1,
    lifetime: int | None = None,
    comment: str | None = None,
) -> list[str]:
    """The ids of new rules, one per DID in their order. Rucio adds all of them, or none.

    `lifetime` in seconds, None: without end. Raises Failure (NOT_FOUND, USAGE, NO_SPACE, UNREACHABLE) with the
    numbers, and Rucio's DuplicateRule as it is: the caller knows what to do with a rule that is there already.
    """
    from rucio.common import exception

    try:
        return list(
            client.add_replication_rule(
                [did.as_dict() for did in dids], copies, rse_expression, lifetime=lifetime, comment=comment
            )
        )
    except exception.DataIdentifierNotFound as error:
        named = next((did for did in dids if re.search(rf"{re.escape(str(did))}(?!\S)", str(error))), None)
        raise unknown(named or dids[0]) from error
    except exception.InsufficientAccountLimit as error:
        raise _no_quota(client, dids, rse_expression, copies) from error
    except exception.InsufficientTargetRSEs as error:
        count = len(list(client.list_rses(rse_expression)))
        raise Failure(
            f"{copies} copies are asked for, and {rse_expression} has {count} storage{'' if count == 1 else 's'}.",
            "Ask for fewer copies, or name more storages, as in: QOS=SAFE|QOS=FAST",
            Code.USAGE,
        ) from error
    except exception.InvalidRSEExpression as error:
        raise _no_such_storage(client, rse_expression) from error
    except exception.RSEWriteBlocked as error:
        sentence = f"{rse_expression} takes no data at the moment."
        raise Failure(sentence, "Try again later, or name another storage.", Code.UNREACHABLE) from error
    except exception.RSEOverQuota as error:
        sentence = f"{rse_expression} is full."
        raise Failure(sentence, "Name another storage, or ask its managers for space.", Code.NO_SPACE) from error
    except (exception.StagingAreaRuleRequiresLifetime, exception.ScratchDiskLifetimeConflict) as error:
        sentence = f"{rse_expression} does not keep data that long ({words_of(error)})."
        raise Failure(sentence, "Give a shorter --lifetime.", Code.USAGE) from error
    except exception.ReplicationRuleCreationTemporaryFailed as error:
        raise Failure("Rucio is busy with these data.", "Try again in a minute.", Code.UNREACHABLE) from error


def _no_such_storage(client: Any, rse_expression: str) -> Failure:
    name, equals, qos = rse_expression.partition("=")
    if equals and name == ATTRIBUTE:
        there = classes(client)
        listed = "; ".join(f"{key} ({', '.join(rses[:5])})" for key, rses in there.items())
        advice = f"There are: {listed}" if there else "No storage of this Rucio has a class (the attribute QOS)."
        return Failure(f"No storage that takes data is of the class {qos}.", advice, Code.NOT_FOUND)
    return Failure(
        f"No storage that takes data matches {rse_expression!r}.", "Check the name of the storage.", Code.NOT_FOUND
    )


def _no_quota(client: Any, dids: Sequence[DID], rse_expression: str, copies: int) -> Failure:
    rses = sorted(entry["rse"] for entry in client.list_rses(rse_expression))
    used = {entry["rse"]: entry for entry in client.get_local_account_usage(client.account)}
    parts = [_quota(rse, used.get(rse)) for rse in rses[:5]]
    if len(dids) <= _MEASURED:
        needed = sum(client.get_did(did.scope, did.name, dynamic_depth="FILE").get("bytes") or 0 for did in dids)
        parts.append(f"these data need {size(needed * copies)}")
    return Failure(
        f"Your quota does not suffice: {'; '.join(parts)}.",
        "Let rules that you no longer need end (datalake rules), or ask your VO's data managers for more.",
        Code.NO_SPACE,
    )


def _quota(rse: str, usage: dict[str, Any] | None) -> str:
    limit = usage["bytes_limit"] if usage else 0
    if usage is None or not limit:
        return f"you have none on {rse}"
    return f"{size(usage['bytes'])} of {size(limit)} used on {rse}"

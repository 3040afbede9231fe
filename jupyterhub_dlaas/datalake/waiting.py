"""Waiting for rules: seldom asking, through Rucio's outages, until all is there or Rucio says why it will not be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of
from jupyterhub_dlaas.datalake.rule import Rule, reason, rule_of

Progress = Callable[[Sequence[Rule]], None]

_FIRST_SECONDS, _LONGEST_SECONDS, _GROWTH = 0.5, 20.0, 1.4
_PATIENCE_SECONDS = 3600.0
# A token that Rucio refuses is renewed by the hub within minutes, or not at all.
_REFUSED_SECONDS = 300.0
_SINGLY = 20  # rules asked for one by one; more are read from one list
_TOLD = 10  # stuck rules that a message names


class Stuck(Failure):
    """Rules that Rucio cannot fulfil by itself at the moment; `rules` are all that were waited for."""

    def __init__(self, sentence: str, advice: str, rules: Sequence[Rule]) -> None:
        super().__init__(sentence, advice, Code.FAILED)
        self.rules = list(rules)


def wait_for(
    client: Any,
    rule_ids: Iterable[str],
    *,
    on_progress: Progress | None = None,
    until: Literal["OK", "settled"] = "OK",
    on_trouble: Callable[[Failure], None] | None = None,
    patience_seconds: float = _PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Rule]:
    """The rules, in the order of `rule_ids`, once all files of each are there.

    `on_progress` gets all the rules after each look. A rule that gets stuck does not end the waiting for the others;
    then Stuck is raised with Rucio's reasons in words (`until="settled"`: the rules are returned as they are). While
    Rucio cannot be reached, the waiting goes on for `patience_seconds`; `on_trouble` hears of each outage once. Raises
    Failure (NOT_FOUND) for a rule that Rucio does not have, or no longer. However it ends, Rucio goes on.
    """
    from rucio.common.exception import RucioException

    wanted = list(dict.fromkeys(rule_ids))
    known: dict[str, Rule] = {}
    delay, trouble_since = _FIRST_SECONDS, None
    while True:
        pending = [key for key in wanted if key not in known or not known[key].is_settled]
        try:
            seen = states(client, pending)
        except (Failure, RucioException, OSError) as error:  # requests' exceptions are OSErrors
            failure = _passing(error)
            if failure is None:
                raise
            if trouble_since is None:
                trouble_since = clock()
                if on_trouble:
                    on_trouble(failure)
            limit = _REFUSED_SECONDS if failure.code is Code.REFUSED else _PATIENCE_SECONDS
            if clock() - trouble_since >= min(limit, patience_seconds):
                raise failure from error
        else:
            trouble_since = None
            moved = {key: rule for key, rule in seen.items() if rule != known.get(key)}
            delay = _FIRST_SECONDS if moved and known else delay
            known.update(moved)
            rules = [known[key] for key in wanted]
            if on_progress:
                on_progress(rules)
            if all(rule.is_settled for rule in rules):
                break
        pause(delay)
        delay = min(delay * _GROWTH, _LONGEST_SECONDS)
    if until == "OK" and any(rule.state != "OK" for rule in rules):
        raise stuck(client, rules)
    return rules


def stuck(client: Any, rules: Sequence[Rule]) -> Stuck:
    """The failure for the rules among these that are stuck, each with its reason."""
    failed = [rule for rule in rules if rule.state in ("STUCK", "SUSPENDED")]
    sentences = [
        f"{rule.did} is stuck on its way to {rule.rse_expression}: {rule.words}; {_why(client, rule)}."
        for rule in failed[:_TOLD]
    ]
    if len(failed) > _TOLD:
        sentences.append(f"So are {len(failed) - _TOLD} more: datalake rules --state STUCK")
    return Stuck(
        "\n".join(sentences),
        "Rucio tries again by itself for two weeks, and sooner when you repeat the command; see: datalake rules. "
        "If it lasts, give this sentence to your VO's data managers.",
        rules,
    )


def _why(client: Any, rule: Rule) -> str:
    """The reason in words, with the first file that it is about."""
    from rucio.common.exception import RucioException

    words = reason(rule.error)
    try:
        transfers = client.examine_replication_rule(rule.id).get("transfers") or []
    except (Failure, RucioException, OSError):
        transfers = []  # the rule's own words have to do
    if not transfers:
        return words
    first = transfers[0]
    if not rule.error and first.get("last_error"):
        words = reason(first["last_error"])
    return f"{words}, first {first['scope']}:{first['name']}"


def states(client: Any, rule_ids: Sequence[str]) -> dict[str, Rule]:
    """The rules of these ids as they are now; a Failure (NOT_FOUND) for one that Rucio does not have."""
    from rucio.common.exception import RuleNotFound

    found: dict[str, Rule] = {}
    if len(rule_ids) > _SINGLY:
        wanted = set(rule_ids)
        listed = client.list_replication_rules({"account": client.account})
        found = {entry["id"]: rule_of(entry) for entry in listed if entry["id"] in wanted}
    for key in rule_ids:
        if key not in found:  # also somebody else's
            try:
                found[key] = rule_of(client.get_replication_rule(key))
            except RuleNotFound as error:
                raise _gone(key) from error
    return found


def _gone(rule_id: str) -> Failure:
    return Failure(
        f"Rucio no longer has the rule {rule_id}: it has ended, or somebody removed it.",
        "See what is left: datalake rules",
        Code.NOT_FOUND,
    )


def _passing(error: Exception) -> Failure | None:
    """The failure, where it is one that passes by itself."""
    failure = failure_of(error)
    return failure if failure and failure.code in (Code.UNREACHABLE, Code.REFUSED) else None

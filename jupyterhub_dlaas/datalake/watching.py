"""Rules on their way, as the person who waits for them sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jupyterhub_dlaas.datalake.console import json_line, note, out, progress
from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Instance
from jupyterhub_dlaas.datalake.lifetime import until
from jupyterhub_dlaas.datalake.rule import Rule
from jupyterhub_dlaas.datalake.rules import ask
from jupyterhub_dlaas.datalake.waiting import Stuck, states, stuck, wait_for

_DAY = 86_400


def bring_and_print(
    client: Any, instance: Instance, dids: Iterable[DID], *, lifetime: float | None, wait: bool, json: bool
) -> None:
    """`make_available` as a command: the rules on standard output, also where some of them are stuck (then raises).

    `lifetime` in seconds, None: the catalogue's.
    """
    rule_ids = ask(client, instance, dids, lifetime_days=None if lifetime is None else lifetime / _DAY)
    if not rule_ids:
        raise Failure("No DIDs were given.", "Name them, or write one per line on standard input.", Code.NOT_FOUND)
    failure: Stuck | None = None
    if wait:
        try:
            rules = wait_and_show(client, rule_ids, on_first=None if json else _say_what_is_here)
        except Stuck as error:
            failure, rules = error, error.rules
    else:
        made = states(client, rule_ids)
        rules = [made[key] for key in rule_ids]
        if any(rule.state in ("STUCK", "SUSPENDED") for rule in rules):
            failure = stuck(client, rules)
    for rule in rules:
        if json:
            json_line(rule.as_json())
        else:
            out(line(rule, client.account))
    if failure:
        raise failure


def wait_and_show(
    client: Any,
    rule_ids: Sequence[str],
    what: str = "Files there",
    *,
    on_first: Callable[[Sequence[Rule]], None] | None = None,
) -> list[Rule]:
    """`wait_for`, with its progress and Rucio's outages on standard error; `on_first` hears of the first look."""
    with _bar(what, on_first) as show:
        return wait_for(client, rule_ids, on_progress=show, on_trouble=_trouble)


def line(rule: Rule, account: str) -> str:
    """`user.alice:run-7: 3 files there, kept until 28 Nov 2026 09:30`."""
    whose = "" if rule.account in ("", account) else f" by {rule.account}"
    return f"{rule.did}: {rule.words}, kept {until(rule.expires_at)}{whose}"


@contextmanager
def _bar(what: str, on_first: Callable[[Sequence[Rule]], None] | None) -> Iterator[Callable[[Sequence[Rule]], None]]:
    """How many files there are is known after the first look, so the bar starts then; no bar for what is there."""
    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        shown, looks = 0, 0

        def show(rules: Sequence[Rule]) -> None:
            nonlocal advance, shown, looks
            looks += 1
            if looks == 1 and on_first:
                on_first(rules)
            total, there = sum(rule.files for rule in rules), sum(rule.ok for rule in rules)
            if advance is None and total and not all(rule.is_settled for rule in rules):
                advance = stack.enter_context(progress(what, total))
            if advance is not None:
                advance(there - shown)
                shown = there

        try:
            yield show
        except KeyboardInterrupt:
            stack.close()
            note("\nRucio goes on without this command.")
            raise


def _say_what_is_here(rules: Sequence[Rule]) -> None:
    here = sum(rule.state == "OK" and rule.files > 0 for rule in rules)
    if here:
        note(f"{here} of {len(rules)} can be read here already." if len(rules) > 1 else "It can be read here already.")


def _trouble(failure: Failure) -> None:
    note(f"{failure.sentence} The rules are not affected; waiting goes on.")

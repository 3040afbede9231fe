"""Switches for faults, and counters that tell what was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

_GRANTS = ("token", "code", "refresh", "exchange", "client_credentials")
_PAGES = ("discovery", "jwk", "authorize", "login", "userinfo", "introspect", "revoke", "scim")
ENDPOINTS = frozenset(_GRANTS + _PAGES)


@dataclass
class Fault:
    """What befalls the answers of one endpoint. One of the kinds is set; `times` None means until cleared.

    `status` (with `retry_after` seconds), `hang`, `not_json` (200 and a web page) come instead of any work;
    `truncate` and `drop_answer` after it: what was asked has happened, the asker does not learn it.
    `delay_seconds` may be combined with any.
    """

    endpoint: str
    audience: str | None = None
    status: int | None = None
    retry_after: int | None = None
    delay_seconds: float = 0.0
    hang: bool = False
    not_json: bool = False
    truncate: bool = False
    drop_answer: bool = False
    times: int | None = None

    def __post_init__(self) -> None:
        if self.endpoint != "*" and self.endpoint not in ENDPOINTS:
            raise ValueError(f"no endpoint {self.endpoint!r}; there are * {' '.join(sorted(ENDPOINTS))}")

    def hits(self, names: Set[str], audience: str | None) -> bool:
        named = self.endpoint == "*" or self.endpoint in names
        return named and (self.audience is None or self.audience == audience)


class Faults:
    """All faults that are switched on. Endpoint names: see `ENDPOINTS`; `token` is all grants, `*` everything."""

    def __init__(self) -> None:
        self.latency_seconds: float = 0.0  # on every answer
        self.wrong_issuer: str | None = None  # discovery claims to be this one
        self.refused_audiences: dict[str, Literal["indigo", "keycloak"]] = {}
        self.active: list[Fault] = []

    def set(
        self,
        endpoint: str,
        *,
        audience: str | None = None,
        status: int | None = None,
        retry_after: int | None = None,
        delay_seconds: float = 0.0,
        hang: bool = False,
        not_json: bool = False,
        truncate: bool = False,
        drop_answer: bool = False,
        times: int | None = None,
    ) -> Fault:
        """Switches one fault on and returns it, to be given to `remove`. ValueError for an unknown endpoint."""
        fault = Fault(
            endpoint, audience, status, retry_after, delay_seconds, hang, not_json, truncate, drop_answer, times
        )
        self.active.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        if fault in self.active:
            self.active.remove(fault)

    def refuse(self, audience: str, *, like: Literal["indigo", "keycloak"] = "indigo") -> None:
        """Exchanges for this audience are refused in the words of a scope policy, or of Keycloak's missing role."""
        self.refused_audiences[audience] = like

    def clear(self) -> None:
        """Everything works again."""
        self.active.clear()
        self.refused_audiences.clear()
        self.latency_seconds = 0.0
        self.wrong_issuer = None

    def take(self, names: Set[str], audience: str | None) -> list[Fault]:
        """The faults that hit this request; each counts it."""
        hit = [fault for fault in self.active if fault.hits(names, audience)]
        for fault in hit:
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.active.remove(fault)
        return hit


@dataclass
class Counters:
    """What was asked and granted, by endpoint, grant (`refresh`) and audience (`exchange:rucio`)."""

    requests: Counter[str] = field(default_factory=Counter)
    granted: Counter[str] = field(default_factory=Counter)
    max_concurrent: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def during(self, names: Set[str]) -> Iterator[None]:
        self.requests.update(names)
        self.now.update(names)
        for name in names:
            self.max_concurrent[name] = max(self.max_concurrent[name], self.now[name])
        try:
            yield
        finally:
            self.now.subtract(names)

    def clear(self) -> None:
        """Counts from zero again; requests in flight stay in flight."""
        for counter in (self.requests, self.granted, self.max_concurrent):
            counter.clear()

    def as_dict(self) -> dict[str, dict[str, int]]:
        return {
            "requests": dict(self.requests),
            "granted": dict(self.granted),
            "max_concurrent": dict(self.max_concurrent),
        }


async def pause(fault: Fault, stopped: asyncio.Event) -> None:
    """The waiting part of a fault; a hang ends only with the server."""
    if fault.delay_seconds:
        await asyncio.sleep(fault.delay_seconds)
    if fault.hang:
        await stopped.wait()

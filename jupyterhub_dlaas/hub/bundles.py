"""From a running server to the bytes of its bundle, rendered once and kept until something in it would differ."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import utcnow
from sqlalchemy import bindparam, inspect, or_, select

from jupyterhub_dlaas.bundle.files import BundleFile
from jupyterhub_dlaas.bundle.mounts import Mount, mounts
from jupyterhub_dlaas.bundle.render import render
from jupyterhub_dlaas.bundle.token import TokenState
from jupyterhub_dlaas.hub.agents import Report, RunningServer

WITHHELD = (
    "This server is shared with others, so it gets no access of yours to the data lake. "
    "Stop sharing it to have that back within a minute."
)

# Not `orm_spawner.shares`: the hub's session keeps a list that it has loaded after a share was revoked.
_LIVE_SHARE = (
    select(orm.Share.id)
    .where(orm.Share.spawner_id == bindparam("spawner"))
    .where(or_(orm.Share.expires_at.is_(None), orm.Share.expires_at > bindparam("now")))
    .limit(1)
)
_LOAD_WAIT_SECONDS = 3.0
_LOAD_AGAIN_SECONDS = 30.0
_SOON_SECONDS = 2.0


class NotLoaded(Exception):
    """The hub has just started and does not have this user's tokens in memory yet: ask again in a moment."""


@dataclass(frozen=True)
class Rendered:
    """One bundle as JSON without its first two fields; good while `key` is the same and until `good_until` (epoch).

    Not `complete`: a token is on its way.
    """

    key: tuple[Any, ...]
    etag: str
    tail: bytes
    good_until: float
    complete: bool

    def body(self, ask_again_seconds: float) -> bytes:
        """The JSON document that the agent reads."""
        return b'{"version": 1, "ask_again_seconds": %.1f, ' % ask_again_seconds + self.tail


async def bundle_of(dlaas: Any, server: RunningServer) -> Rendered:
    """The bundle of a running server. Waits a few seconds at most; raises `NotLoaded` when that is not enough."""
    spawner = server.spawner
    name = spawner.user.name
    choice = spawner.current_choice()
    if choice is None:
        raise NotLoaded
    audiences = choice.offer.audiences
    states = dlaas.keeper.peek(name, audiences)
    now = dlaas.clock.now()
    if states is None or any(lacks(state, now) for state in states.values()):
        _load(dlaas, server, now)
        if states is None:
            states = await _wait_for(dlaas, server, audiences)
    shared = dlaas.config.shared_servers != "allow" and is_shared(spawner)
    key = (
        dlaas.keeper.version(name),
        dlaas.catalogues.revision,
        server.generation,
        shared,
        choice,
    )
    before: Rendered | None = server.rendered
    if before is not None and before.key == key and now < before.good_until:
        return before
    required = () if shared else spawner.required_audiences(choice)
    files = render(
        choice,
        states,
        spawner.places,
        user=name,
        account=spawner.rucio_account(),
        auth_type=choice.auth_type,
        server=spawner.name,
        mounts=(server.report or Report()).mounts,
        folder=spawner.scratch_folder(),
        withheld=WITHHELD if shared else "",
        now=now,
    )
    rendered = compose(key, files, mounts(choice, name), states, required=required, now=now)
    server.rendered = rendered
    return rendered


def compose(
    key: tuple[Any, ...],
    files: Sequence[BundleFile],
    wanted_mounts: Sequence[Mount],
    states: Mapping[str, TokenState],
    *,
    required: Sequence[str],
    now: float,
) -> Rendered:
    """The wire form of a bundle, see the module `jupyterhub_dlaas.agent`; `required` audiences decide `ready`."""
    missing = [
        f"{audience}: {why_missing(states.get(audience))}" for audience in required if lacks(states.get(audience), now)
    ]
    document = {
        "ready": not missing,
        "not_ready_because": "; ".join(missing),
        "files": [
            {
                "root": file.root,
                "path": file.path,
                "mode": f"{file.mode:04o}",
                "when": file.when,
                "content": base64.b64encode(file.content).decode("ascii"),
            }
            for file in files
        ],
        "mounts": [{"name": mount.name, "path": mount.path, "required": mount.required} for mount in wanted_mounts],
    }
    tail = json.dumps(document, separators=(",", ":")).encode()[1:]
    expiries = [
        state.expires_at for state in states.values() if state.expires_at is not None and state.expires_at > now
    ]
    return Rendered(
        key=key,
        etag=f'"{hashlib.sha256(tail).hexdigest()[:32]}"',
        tail=tail,
        good_until=min(expiries, default=float("inf")),
        complete=not any(lacks(state, now) and state.problem is None for state in states.values()),
    )


def ask_again_seconds(dlaas: Any, name: str, rendered: Rendered) -> float:
    """When the agent shall ask next: just after the next renewal, but at most `agent_poll_seconds` from now."""
    longest = float(dlaas.config.agent_poll_seconds)
    if not rendered.complete:
        return min(longest, 5 * _SOON_SECONDS)
    left: float = dlaas.keeper.next_due(name) - dlaas.clock.now()
    if left <= 0:  # renewal is late: IAM may be down, so look often, but not as fast as we can
        return min(longest, 5 * _SOON_SECONDS)
    return max(min(_SOON_SECONDS, longest), min(longest, left + 1))


def is_shared(spawner: Any) -> bool:
    """Whether the owner lets anybody else use this server now (a share that has not expired)."""
    session = inspect(spawner.orm_spawner).session
    asked = {"spawner": spawner.orm_spawner.id, "now": utcnow(with_tz=False)}
    return session.connection().execute(_LIVE_SHARE, asked).first() is not None


def why_missing(state: TokenState | None) -> str:
    """Why there is no usable token, in a sentence."""
    if state is not None and state.problem is not None:
        return state.problem.sentence
    return "there is no access token yet"


def lacks(state: TokenState | None, now: float) -> bool:
    """Whether there is no token to work with now."""
    return state is None or state.token is None or (state.expires_at is not None and state.expires_at <= now)


def _load(dlaas: Any, server: RunningServer, now: float) -> None:
    """Has the keeper read the session and do what is due: in the background, once at a time, every half minute at most.

    Nobody waits for an agent, so the keeper's own pauses between tries hold (`tokens` would overrule them).
    """
    if server.loading is not None and not server.loading.done():
        return
    if now - server.asked_at < _LOAD_AGAIN_SECONDS and server.rendered is not None:
        return
    server.asked_at = now
    server.loading = asyncio.ensure_future(dlaas.keeper.renew(server.spawner.user))
    server.loading.add_done_callback(_look_at)


def _look_at(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # the keeper has logged it and remembers it as the audience's problem


async def _wait_for(dlaas: Any, server: RunningServer, audiences: Sequence[str]) -> Mapping[str, TokenState]:
    if server.loading is not None:
        await asyncio.wait({server.loading}, timeout=_LOAD_WAIT_SECONDS)
    states: Mapping[str, TokenState] | None = dlaas.keeper.peek(server.spawner.user.name, audiences)
    if states is None:
        raise NotLoaded
    return states

"""Which token speaks for which running server, and what that server's agent last said.

An agent token is an ordinary API token of the user, but only the one that the hub itself minted at the start of a
server opens the token API: its row is *pinned* here and in the spawner's saved state. A scope or a note would not
do, because users and administrators can mint tokens with both; nor the row's id alone, because SQLite gives the id of a
deleted token to the next one, and users can delete tokens of theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyterhub import orm
from jupyterhub.scopes import define_custom_scopes
from jupyterhub.utils import url_path_join
from sqlalchemy import delete, inspect

from jupyterhub_dlaas.bundle.mounts import MountState
from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.hub.limits import TokenBucket
from jupyterhub_dlaas.oidc.secret import Secret

AGENT_SCOPE = "custom:dlaas:agent"
"""The only scope of an agent token, always with the filter `!server=<user>/<server>`. It opens nothing by itself."""

define_custom_scopes(
    {AGENT_SCOPE: {"description": "Fetch the data lake files of one running server (its agent only)."}}
)

# JupyterHub counts a call with a token as activity of its user unless the token's note begins like this: without it the
# agent's polling would keep idle servers alive for ever.
_NOTE = "Server at {url} (data lake agent)"


@dataclass(frozen=True)
class Report:
    """What an agent said about its server; `received_at` in epoch seconds."""

    mounts: tuple[MountState, ...] = ()
    problems: tuple[str, ...] = ()
    files: int = 0
    received_at: float = 0.0


@dataclass
class RunningServer:
    """One server with a pinned agent token. `generation` changes with each report whose content is new."""

    spawner: Any
    token_id: int
    token_hash: str
    bundle_limit: TokenBucket
    report_limit: TokenBucket
    report: Report | None = None
    generation: int = 0
    rendered: Any = None
    loading: Any = None
    asked_at: float = field(default=float("-inf"))


class AgentRegistry:
    """The pinned agent tokens of all running servers. `now` gives epoch seconds."""

    def __init__(
        self, now: Callable[[], float] = time.time, *, requests_per_second: float = 5.0, burst: float = 60.0
    ) -> None:
        self._now = now
        self._requests_per_second = requests_per_second
        self._burst = burst
        self._by_token: dict[int, RunningServer] = {}
        self._by_server: dict[tuple[int, str], RunningServer] = {}

    async def mint(self, spawner: Any) -> Secret:
        """A new agent token for this server; the one before it is revoked. The caller saves the spawner's state.

        Raises `ConfigError` when the user lacks the scope, because roles were set without `jupyterhub_dlaas.setup`.
        """
        self.revoke(spawner)
        _delete_tokens(spawner, _left_behind(spawner))
        try:
            token = spawner.user.new_api_token(note=_note(spawner), scopes=[_scope(spawner)])
        except ValueError as error:
            raise ConfigError(
                f"The agent of {spawner.user.name}'s server cannot be given a token: {error}",
                hint=f'Add "{AGENT_SCOPE}!user" to the scopes of the role `user`, as jupyterhub_dlaas.setup(c) does.',
            ) from error
        row = orm.APIToken.find(_session(spawner), token)
        self.adopt(spawner, row.id, row.hashed)
        return Secret(token)

    def adopt(self, spawner: Any, token_id: int, token_hash: str) -> RunningServer:
        """Pins the token with this id and (salted) hash to the server, at its start or when a hub restarts."""
        key = _key(spawner)
        before = self._by_server.pop(key, None)
        if before is not None:
            self._by_token.pop(before.token_id, None)
        server = RunningServer(
            spawner=spawner,
            token_id=token_id,
            token_hash=token_hash,
            bundle_limit=TokenBucket(self._requests_per_second, self._burst),
            report_limit=TokenBucket(self._requests_per_second, self._burst),
        )
        self._by_server[key] = self._by_token[token_id] = server
        return server

    def revoke(self, spawner: Any) -> None:
        """Unpins and deletes the server's agent token. Nothing happens when it has none."""
        server = self._by_server.pop(_key(spawner), None)
        if server is None:
            return
        self._by_token.pop(server.token_id, None)
        _delete_tokens(spawner, [server.token_id])

    def lookup(self, token_id: int) -> Any | None:
        """The spawner whose agent holds the token with this id, while its server runs, starts or stops; else None."""
        server = self.server_of(token_id)
        return None if server is None else server.spawner

    def server_of(self, token_id: int) -> RunningServer | None:
        """Like `lookup`, with everything known about the server."""
        server = self._by_token.get(token_id)
        return server if server is not None and server.spawner.active else None

    def get(self, spawner: Any) -> RunningServer | None:
        """What is known about this server, if an agent token is pinned to it."""
        return self._by_server.get(_key(spawner))

    def reporting(self) -> list[RunningServer]:
        """The running servers whose agents have said something."""
        return [server for server in self._by_token.values() if server.report and server.spawner.active]

    def token_id(self, spawner: Any) -> int | None:
        """The id of the pinned token, for the spawner's saved state."""
        server = self._by_server.get(_key(spawner))
        return None if server is None else server.token_id

    def report(
        self, spawner: Any, *, mounts: Sequence[MountState] = (), problems: Sequence[str] = (), files: int = 0
    ) -> bool:
        """Remembers what the server's agent said; returns whether it differs from what it said before."""
        server = self._by_server.get(_key(spawner))
        if server is None:
            return False
        before = server.report or Report()
        server.report = Report(tuple(mounts), tuple(problems), files, self._now())
        changed = _content(before) != _content(server.report)
        server.generation += changed
        return changed


def _content(report: Report) -> tuple[Any, ...]:
    mounts = tuple((mount.name, mount.path, mount.alive, mount.problem) for mount in report.mounts)
    return mounts, report.problems


def _key(spawner: Any) -> tuple[int, str]:
    return spawner.user.id, spawner.name


def _session(spawner: Any) -> Any:
    return inspect(spawner.user.orm_user).session


def _left_behind(spawner: Any) -> list[int]:
    """Ids of this server's agent tokens of which nobody knows: a hub was killed in the middle of a start."""
    found = _session(spawner).query(orm.APIToken).filter_by(user_id=spawner.user.id, note=_note(spawner))
    return [row.id for row in found if row.scopes == [_scope(spawner)]]


def _delete_tokens(spawner: Any, ids: Sequence[int]) -> None:
    """In one statement, as a burst of starts or stops has one for each server."""
    session = _session(spawner)
    if not ids or session is None:  # the user has just been deleted, and their tokens with them
        return
    token = orm.APIToken
    session.execute(delete(token).where(token.user_id == spawner.user.id, token.id.in_(ids)))
    session.commit()


def _scope(spawner: Any) -> str:
    return f"{AGENT_SCOPE}!server={spawner.user.name}/{spawner.name}"


def _note(spawner: Any) -> str:
    return _NOTE.format(url=url_path_join(spawner.user.base_url, spawner.name, "/"))

"""The keeper's hands in JupyterHub's database: auth_state, groups and the admin flag of one user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyterhub import orm, roles
from jupyterhub.crypto import CryptKeeper
from sqlalchemy import bindparam, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm.attributes import set_committed_value

_MOMENT_SECONDS = 0.01
_USERS = orm.User.__table__
_UPDATE = update(_USERS).where(_USERS.c.id == bindparam("row")).values(encrypted_auth_state=bindparam("blob"))


async def load(user: Any) -> dict[str, Any] | None:
    """The user's auth_state, None when there is none or its key is lost.

    With two or more keys JupyterHub writes the value back while it reads: call it under the user's lock only.
    """
    state: dict[str, Any] | None = await user.get_auth_state()
    return state


async def save(user: Any, auth_state: Mapping[str, Any], *, still_wanted: Callable[[], bool]) -> bool:
    """Encrypts, and commits if `still_wanted` says so at that moment; returns whether it did.

    Nothing is awaited between the question and the commit, so a login that came meanwhile is never overwritten. Raises
    SQLAlchemyError when the database cannot be written.
    """
    # What JupyterHub's `encrypt` does, without its thread: for 16 kB changing threads costs more than encrypting.
    crypt = CryptKeeper.instance()
    crypt.check_available()
    encrypted = crypt.fernet.encrypt(json.dumps(dict(auth_state)).encode())
    saves: _Saves = user.db.info.setdefault("dlaas_saves", _Saves(user.db))
    return await saves.add(_Save(user, encrypted, still_wanted))


@dataclass(frozen=True)
class _Save:
    user: Any
    encrypted: bytes
    still_wanted: Callable[[], bool]
    done: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Saves:
    """The saves of one moment become one commit: when many users fall due, waiting for the disk costs most of all.

    They are plain statements, because SQLAlchemy's unit of work costs several times as much for a single column.
    """

    def __init__(self, db: Any) -> None:
        self._db = db
        self._waiting: list[_Save] = []

    async def add(self, save: _Save) -> bool:
        if not self._waiting:
            asyncio.get_running_loop().call_later(_MOMENT_SECONDS, self._write)
        self._waiting.append(save)
        return await save.done

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        wanted = [save for save in waiting if save.still_wanted()]
        try:
            if wanted:
                rows = [{"row": save.user.id, "blob": save.encrypted} for save in wanted]
                self._db.connection().execute(_UPDATE, rows)
                self._db.commit()
        except SQLAlchemyError as error:
            # Outside of a request nobody else would do it, and the hub's one session would stay unusable.
            self._db.rollback()
            for save in waiting:
                if not save.done.done():
                    save.done.set_exception(error)
            return
        for save in wanted:
            set_committed_value(save.user.orm_user, "encrypted_auth_state", save.encrypted)
        kept = set(map(id, wanted))
        for save in waiting:
            if not save.done.done():
                save.done.set_result(id(save) in kept)


def stored(user: Any) -> bytes | None:
    """The encrypted auth_state as it is in the database now; to be compared only."""
    blob: bytes | None = user.encrypted_auth_state
    return blob


def rewritten_by_readers() -> bool:
    """Whether JupyterHub writes auth_state back whenever a page reads it, which can undo a save of ours."""
    return len(CryptKeeper.instance().keys) > 1


def apply(user: Any, *, groups: Collection[str] | None, admin: bool | None) -> bool:
    """Brings groups and admin flag up to date as a login does (`auth_to_user`); returns whether groups changed."""
    before = {group.name for group in user.groups}
    if admin is not None and admin != user.admin:
        user.admin = admin
        roles.assign_default_roles(user.db, entity=user.orm_user)
        user.db.commit()
    if groups is not None:
        user.sync_groups(sorted(groups))
    return before != {group.name for group in user.groups}

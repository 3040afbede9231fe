"""The keeper's hands in JupyterHub's database: auth_state, groups and the admin flag of one user."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from jupyterhub import orm, roles
from jupyterhub.crypto import CryptKeeper, encrypt
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm.attributes import set_committed_value


async def load(user: Any) -> dict[str, Any] | None:
    """The user's auth_state, None when there is none or its key is lost.

    With two or more keys JupyterHub writes the value back while it reads: call it under the user's lock only.
    """
    state: dict[str, Any] | None = await user.get_auth_state()
    return state


async def save(user: Any, auth_state: Mapping[str, Any], *, still_wanted: Callable[[], bool]) -> bool:
    """Encrypts (in a thread), and commits if `still_wanted` says so at that moment; returns whether it did.

    Nothing is awaited between the question and the commit, so a login that came meanwhile is never overwritten.
    """
    encrypted = await encrypt(dict(auth_state))
    if not still_wanted():
        return False
    try:
        # One statement instead of SQLAlchemy's unit of work, which costs several times as much for a single column.
        user.db.execute(update(orm.User).where(orm.User.id == user.id).values(encrypted_auth_state=encrypted))
        user.db.commit()
    except SQLAlchemyError:
        # Outside of a request nobody else would do it, and the hub's one session would stay unusable.
        user.db.rollback()
        raise
    set_committed_value(user.orm_user, "encrypted_auth_state", encrypted)
    return True


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

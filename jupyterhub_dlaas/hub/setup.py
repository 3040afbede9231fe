"""`jupyterhub_dlaas.setup(c)`: what a hub needs for the data lake, added to what is configured already."""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any

from jupyterhub import version_info
from traitlets.config.loader import LazyConfigValue

from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.hub.agents import AGENT_SCOPE

log = logging.getLogger(__name__)

TEMPLATES = str(Path(__file__).with_name("templates"))
_AUTH_REFRESH_AGE_SECONDS = 60


class _Sentence(logging.Filter):
    """JupyterHub logs what keeps it from starting with its whole traceback; for our own errors the sentence will do."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConfigError):
            record.msg, record.args, record.exc_info = f"The hub cannot start: {error.sentence()}", (), None
        return True


def speak_plainly() -> None:
    """From now on a `ConfigError` that ends JupyterHub is logged as its sentence."""
    jupyterhub = logging.getLogger("JupyterHub")
    if not any(isinstance(known, _Sentence) for known in jupyterhub.filters):
        jupyterhub.addFilter(_Sentence())


def setup(c: Any) -> None:
    """Appends to `c`, replaces nothing. Raises `ConfigError` when no crypt key is set anywhere.

    Zero-to-JupyterHub has filled `c` with lists of its own before this runs.
    """
    speak_plainly()
    _need_crypt_key(c)
    if _get(c.Authenticator, "enable_auth_state") is False:
        raise ConfigError(
            "c.Authenticator.enable_auth_state is False, but the hub keeps the users' sessions with IAM there.",
            hint="Take that line out.",
        )
    c.Authenticator.enable_auth_state = True
    _refresh(c)
    _user_scope(c)
    _append(c.JupyterHub, "template_paths", TEMPLATES)
    if str(_get(c.JupyterHub, "db_url") or "") in ("sqlite://", "sqlite:///:memory:"):
        log.warning(
            "c.JupyterHub.db_url is a database in memory: at every restart of the hub all users are logged out and "
            "their servers lose the data lake. Set hub.db.type to sqlite-pvc or postgres."
        )


def _need_crypt_key(c: Any) -> None:
    # With Zero-to-JupyterHub the key is in the setting and the variable is ignored.
    if not _get(c.CryptKeeper, "keys") and not os.environ.get("JUPYTERHUB_CRYPT_KEY", "").strip(" ;"):
        raise ConfigError(
            "Users' sessions cannot be encrypted, no key is set: neither c.CryptKeeper.keys nor JUPYTERHUB_CRYPT_KEY.",
            hint="Make one with `openssl rand -hex 32`, keep it, and set JUPYTERHUB_CRYPT_KEY to it.",
        )


def _refresh(c: Any) -> None:
    age = next((_get(section, "auth_refresh_age") for section in _authenticators(c, "auth_refresh_age")), None)
    if age is None:
        c.Authenticator.auth_refresh_age = _AUTH_REFRESH_AGE_SECONDS
    elif not age:
        log.warning(
            "auth_refresh_age is 0: the hub will not notice on its pages that a session with IAM is over. "
            "Its own renewal of tokens is not touched by it."
        )


def _user_scope(c: Any) -> None:
    """A user can only own a token with a scope that they hold themselves, filtered to what is theirs."""
    scope = f"{AGENT_SCOPE}!user"
    own_roles = [role for role in _list(c.JupyterHub, "load_roles") if role.get("name") == "user"]
    for role in own_roles:
        if "scopes" in role:
            role["scopes"] = [*role["scopes"], *([scope] if scope not in role["scopes"] else [])]
            return
    if version_info >= (6,):
        scopes = _get(c.JupyterHub, "extra_user_scopes")
        if isinstance(scopes, LazyConfigValue):
            scopes.add(scope)
        else:
            c.JupyterHub.extra_user_scopes = {*(scopes or ()), scope}
    elif own_roles:
        own_roles[0]["scopes"] = ["self", scope]
    else:
        _append(c.JupyterHub, "load_roles", {"name": "user", "scopes": ["self", scope]})


def _authenticators(c: Any, name: str) -> list[Any]:
    sections = ("IAMAuthenticator", "GenericOAuthenticator", "OAuthenticator", "Authenticator")
    return [c[section] for section in sections if section in c and _get(c[section], name) is not None]


def _append(section: Any, name: str, value: Any) -> None:
    """Appends once, to a list or to what `c.Section.name.append(...)` has begun."""
    if value in _list(section, name):
        return
    found = _get(section, name)
    if isinstance(found, (list, LazyConfigValue)):
        found.append(value)
    else:
        setattr(section, name, [*(found or ()), value])


def _list(section: Any, name: str) -> list[Any]:
    found = _get(section, name)
    if isinstance(found, LazyConfigValue):
        # A shallow copy: the value is worked out once and kept, and the entries are changed in place.
        return list(copy.copy(found).get_value([]))
    return list(found or ())


def _get(section: Any, name: str) -> Any:
    """What is set, None if nothing: reading a missing name of a traitlets section would make one."""
    return section[name] if name in section else None  # noqa: SIM401

"""What is asked of IAM and what it gives: an audience's settings, and one answer with tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_dlaas.errors import ConfigError
from jupyterhub_dlaas.oidc.secret import Secret

DEFAULT_SCOPES = ("openid", "profile")


@dataclass(frozen=True)
class AudienceSpec:
    """One entry of `IAMAuthenticator.audiences`.

    `key` names it in catalogues, files and status; `audience` and `scopes` go into the exchange (RFC 8693 section 2.1);
    `required_for` are the VOs whose members cannot work without it.
    """

    key: str
    audience: str
    scopes: tuple[str, ...]
    required_for: frozenset[str]

    @classmethod
    def parse(cls, key: str, settings: Mapping[str, Any]) -> AudienceSpec:
        """Reads one entry of the setting. `ConfigError` names the field that cannot work, `audiences[key][field]`."""
        # The key becomes the file name tokens/<key>.
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", key):
            raise ConfigError(
                f"audiences[{key!r}]: the key has to be a plain name, because a file is named after it.",
                hint="Use letters, digits, dots, dashes and underscores; the real audience goes into 'audience'.",
            )
        if not isinstance(settings, Mapping):
            raise ConfigError(
                f"audiences[{key!r}] has to be a mapping, not {type(settings).__name__}.", hint="{} will do."
            )
        unknown = sorted(str(name) for name in settings if name not in ("audience", "scopes", "required_for"))
        if unknown:
            raise ConfigError(
                f"audiences[{key!r}][{unknown[0]!r}] is not a field.",
                hint="The fields are audience, scopes and required_for.",
            )
        audience = settings.get("audience", key)
        if not isinstance(audience, str) or not audience or audience.split() != [audience]:
            # IAM reads a space as two audiences, and gives a token that is good for both.
            raise ConfigError(f"audiences[{key!r}]['audience'] has to be one word, not {audience!r}.")
        scopes = _words(key, "scopes", settings.get("scopes", DEFAULT_SCOPES))
        if not scopes:
            raise ConfigError(
                f"audiences[{key!r}]['scopes'] is empty, and INDIGO IAM refuses an exchange without a scope.",
                hint="Leave the field out for 'openid profile'.",
            )
        if "offline_access" in scopes:
            raise ConfigError(
                f"audiences[{key!r}]['scopes'] holds 'offline_access', which INDIGO IAM refuses at an exchange.",
                hint="Take it out; it belongs in the scopes of the login, where it is by default.",
            )
        return cls(key, audience, scopes, frozenset(_words(key, "required_for", settings.get("required_for", ()))))


@dataclass(frozen=True)
class Grant:
    """One answer of the token endpoint (RFC 6749 section 5.1). Instants are epoch seconds of the hub's clock.

    `refresh_token` is None when IAM sent none: the old one stays good then. `refresh_expires_at` is None when it is
    unknown or never. `scope` is what was really given: IAM drops scopes silently, so compare it with what was asked.
    """

    access_token: Secret
    expires_at: float
    refresh_token: Secret | None
    refresh_expires_at: float | None
    id_token: Secret | None
    scope: frozenset[str]
    received_at: float


def _words(key: str, field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ConfigError(f"audiences[{key!r}][{field!r}] has to be a list of names, not {value!r}.")
    for word in value:
        if not isinstance(word, str) or word.split() != [word]:
            raise ConfigError(f"audiences[{key!r}][{field!r}] holds {word!r}, which is not one word.")
    # A set has no order of its own; the request should not differ from one start to the next.
    return tuple(sorted(value)) if isinstance(value, (set, frozenset)) else tuple(dict.fromkeys(value))

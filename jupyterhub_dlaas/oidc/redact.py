"""Takes tokens out of text that came from IAM, before anybody logs, stores or shows it.

INDIGO IAM quotes the whole token in `error_description` and in `WWW-Authenticate`, so this is not a precaution.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from jupyterhub_dlaas.oidc.secret import Secret

LIMIT = 300
"""Characters that are kept; IAM's own sentences are far shorter."""

_PLACEHOLDER = "<redacted>"
# The letters of tokens: base64url, plain base64, and either of them percent-encoded.
_LETTER = r"[A-Za-z0-9_\-+/=~%]"
# Any JSON object begins with `{`, so the first part of every JWT begins with `e`, then one of w, y, 3, 1 or A; it is
# nearly always `ey`. The dots may be percent-encoded, and the signature is empty in `alg: none`.
_JWT = re.compile(rf"(?<![A-Za-z0-9_\-])e[wyA31]{_LETTER}{{6,}}(?:\.{_LETTER}*)*")
# From the beginning of a run only and without going back, or a long run would cost the square of its length.
_DOTTED = re.compile(rf"(?<!{_LETTER}){_LETTER}{{16,}}+\.{_LETTER}{{16,}}+(?:\.{_LETTER}*+)*+")
_RUN = re.compile(rf"{_LETTER}{{16,}}")


def redact(text: str, hide: Iterable[Secret] = ()) -> str:
    """The text on one line of at most `LIMIT` characters, without JWTs, long opaque tokens and the values of `hide`."""
    for secret in hide:
        value = secret.reveal()
        if value:
            for form in {value, quote(value, safe=""), quote_plus(value), quote(value)}:
                text = text.replace(form, _PLACEHOLDER)
    # A cut before the search could leave the first letters of a token; the search is linear, so long text is no danger.
    text = _DOTTED.sub(_PLACEHOLDER, text)
    text = _JWT.sub(_PLACEHOLDER, text)
    text = _RUN.sub(lambda match: _PLACEHOLDER if _looks_random(match[0]) else match[0], text)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= LIMIT else text[: LIMIT - 1] + "…"


def _looks_random(run: str) -> bool:
    """Whether it is a token rather than a word such as `requested_token_type` or `/auth/realms/dlaas`."""
    if len(run) >= 40:
        return True
    mixed = bool(re.search(r"[a-z]", run[1:])) and bool(re.search(r"[A-Z]", run[1:]))
    return mixed or any(letter.isdigit() for letter in run)

"""Sorts what IAM answered into the seven classes that matter to a session.

`error` alone misleads: INDIGO IAM says 401 `invalid_token` for a spent refresh token, Keycloak
400 `invalid_request` for nearly everything. So status, `error` and `error_description` are looked at together, in the
rules of `jupyterhub_dlaas.oidc.rules`. Only an answer listed there proves a dead session; whatever is not known keeps
it.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import time
from collections.abc import Iterable
from typing import Any, Literal

from jupyterhub_dlaas.errors import IAMError, Outage
from jupyterhub_dlaas.oidc.http import Answer
from jupyterhub_dlaas.oidc.redact import redact
from jupyterhub_dlaas.oidc.rules import REST, RULES
from jupyterhub_dlaas.oidc.secret import Secret

Operation = Literal["code", "refresh", "exchange", "userinfo", "discovery", "jwks", "revoke"]

MAX_RETRY_AFTER_SECONDS = 3600.0
"""More than an hour is never waited, whatever an answer says."""


def classify(
    operation: Operation,
    answer: Answer,
    *,
    audience: str | None = None,
    now: float | None = None,
    issuer_url: str | None = None,
    hide: Iterable[Secret] = (),
) -> IAMError:
    """The error that an answer stands for; to be called for everything but a good answer, and it never raises.

    `audience` is the key asked for; `now` epoch seconds, for a Retry-After that is a date; `issuer_url` where a user
    can act; `hide` the secrets that were sent, so that they are not in `reason` even when IAM quotes them.
    """
    error, description = _said(operation, answer)
    reason = redact(f"{error}: {description}" if error and description else error or description, hide)
    words = {
        "audience": audience or "this audience",
        "what": f"access to {audience}" if audience else _WHAT[operation],
        "status": answer.status,
        "reason": f'"{reason}"' if reason else f"HTTP {answer.status}, without a reason",
        "issuer": issuer_url or "the IAM service",
    }
    rule = next((rule for rule in RULES if rule.fits(operation, answer.status, error, description)), REST)
    return rule.cls(
        rule.message.format(**words),
        hint=rule.hint.format(**words),
        reason=reason or f"HTTP {answer.status}",
        audience=audience,
        retry_after=retry_after(answer, now) if rule.cls is Outage else None,
        url=issuer_url if rule.act_at_issuer else None,
    )


def retry_after(answer: Answer, now: float | None = None) -> float | None:
    """Seconds to wait by `Retry-After`, which is a number or a date (RFC 9110 section 10.2.3); None if it says neither.

    A date is compared with the answer's own `Date`, so that the clocks need not agree, else with `now`.
    """
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    until = _date(value)
    if until is None:
        return None
    since = _date(answer.headers.get("Date", ""))
    if since is None:
        since = time.time() if now is None else now
    return min(max(0.0, until - since), MAX_RETRY_AFTER_SECONDS)


_WHAT: dict[Operation, str] = {
    "code": "the login",
    "refresh": "renewing the session",
    "exchange": "the access token",
    "userinfo": "the account's details",
    "discovery": "the issuer's description",
    "jwks": "the issuer's keys",
    "revoke": "ending the session",
}


def _said(operation: Operation, answer: Answer) -> tuple[str, str]:
    """`error` and `error_description` of the body (RFC 6749 section 5.2) or of the challenge (RFC 6750 section 3)."""
    body: Any = None
    with contextlib.suppress(Outage):
        body = answer.json()
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        description = body.get("error_description")
        return body["error"], description if isinstance(description, str) else ""
    challenge = answer.headers.get("WWW-Authenticate", "") if operation == "userinfo" else ""
    found = {name: re.search(rf'\b{name}="([^"]*)"', challenge) for name in ("error", "error_description")}
    error, description = (match[1] if match else "" for match in found.values())
    return error, description


def _date(value: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None

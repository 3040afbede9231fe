"""A token that the hub renews in its file, and what to tell a person when it does not let them in."""

from __future__ import annotations

import base64
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.bundle import paths
from jupyterhub_dlaas.datalake.advice import ADVICE, token_advice
from jupyterhub_dlaas.datalake.failure import Code, Failure


class TokenFile:
    """The token in a file, read again when the file has changed; asking costs one `stat`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, ...] | None, str] = (None, "")

    def value(self) -> str:
        """The token as it is now; "" where there is none."""
        try:
            status = os.stat(self.path)
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._read[0] != mark:
                # Files are replaced whole, so a token newer than its mark is only read once more.
                self._read = (mark, self.path.read_text().strip())
        except (OSError, ValueError):
            self._read = (None, "")
        return self._read[1]


def expiry(token: str) -> float | None:
    """The claim `exp` of a JWT (RFC 7519 section 4.1.4), epoch seconds; None when the token does not say."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def refusal(service: str, path: Path | None, token: str, *, now: float | None = None) -> Failure:
    """Why `service` does not let the user in with `token`, which was read from `path` and is "" where there was none.

    The hub says in its status what is wrong with the access, if it knows.
    """
    status = _status(path)
    if status.get("withheld"):
        return Failure(str(status["withheld"]), ADVICE["withheld"], Code.REFUSED)
    problem = status.get("audiences", {}).get(path.name if path else "", {}).get("problem")
    until = expiry(token)
    if not token:
        sentence = problem["sentence"] if problem else "The hub has put no token for it into this server."
        return Failure(
            f"This server has no access to {service}. {sentence}",
            token_advice(problem or {"class": "missing"}),
            Code.REFUSED,
        )
    if until is not None and until <= (time.time() if now is None else now):
        return Failure(
            f"Your access to {service} expired at {datetime.fromtimestamp(until).astimezone():%H:%M:%S on %-d %b}.",
            token_advice(problem),
            Code.REFUSED,
        )
    return Failure(f"{service} does not accept your sign-in.", ADVICE["refused"], Code.REFUSED)


def _status(path: Path | None) -> dict[str, Any]:
    """The hub's status.json, beside the folder of tokens; empty where it cannot be read."""
    if path is None:
        return {}
    try:
        status = json.loads((path.parent.parent / paths.STATUS).read_bytes())
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}

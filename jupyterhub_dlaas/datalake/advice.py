"""One line of advice per kind of problem, for the scientist who sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """What is not well: about what, in a sentence, and what to do about it."""

    about: str
    sentence: str
    advice: str


_LOGIN = "Log in to the hub again in your browser; this server picks the new access up within a minute."
_WAIT = "Nothing to do: it is tried again by itself. If it lasts longer than an hour, tell the hub's administrators."
_ADMINISTRATORS = "Tell the hub's administrators, and give them this sentence."

ADVICE: Mapping[str, str] = {
    # The classes of the hub's status.
    "stale_subject": _WAIT,
    "outage": _WAIT,
    "missing": _LOGIN,
    "user_action": "Open IAM's page in your browser and do what it asks, then log in to the hub again.",
    "dead_session": _LOGIN,
    "account_disabled": "Ask your VO's managers to enable your account in IAM; access returns by itself.",
    "operator_error": _ADMINISTRATORS,
    "no_entitlement": "Ask your VO's managers for the group that gives access to it, then log in to the hub again.",
    # What this command finds.
    "expired": _LOGIN,
    "withheld": "Stop sharing the server, or work in one that you do not share.",
    "refused": "Ask your VO's data managers whether Rucio has an account for you: new members may have to wait for it.",
    "unreachable": "Try again in some minutes. If it lasts, tell your VO's data managers.",
    "certificate": "Make a proxy first, for instance with voms-proxy-init, or put your certificate into ~/.globus.",
    "other_account": "Stop and start this server. If it stays, tell the hub's administrators.",
    "error": _ADMINISTRATORS,
    "quota": "Let rules that you no longer need end (datalake rules), or ask your VO's data managers for more.",
    "mount": "Other folders and Rucio downloads go on working. If it lasts, tell the hub's administrators.",
}


def token_advice(problem: Mapping[str, Any] | None) -> str:
    """Advice for an audience, from its problem in status.json; None: the hub knows of no problem."""
    return ADVICE.get(problem["class"] if problem else "expired", _ADMINISTRATORS)

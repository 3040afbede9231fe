"""`status.json`: what a person or a script in the server may know about its access. Never a token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyterhub_dlaas.bundle.mounts import Mount, MountState
from jupyterhub_dlaas.bundle.token import TokenState, Trouble

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.offer import Choice

VERSION = 1


def status_json(
    choice: Choice,
    tokens: Mapping[str, TokenState],
    *,
    user: str,
    account: str,
    auth_type: str,
    server: str,
    mounts: Sequence[Mount],
    probed: Sequence[MountState],
    withheld: str,
) -> bytes:
    """Instants are ISO 8601 in UTC. `withheld` is the sentence why this server gets no tokens, or empty."""
    offer = choice.offer
    states = {state.path: state for state in probed}
    status: dict[str, Any] = {
        "version": VERSION,
        "user": user,
        "account": account,
        "server": server,
        "environment": offer.id,
        "auth_type": auth_type,
        "withheld": withheld,
        "audiences": {key: _audience(choice, key, tokens.get(key), withheld) for key in offer.audiences},
        "rucio": [
            {
                "name": name,
                "display_name": instance.display_name or name,
                "rucio_host": instance.rucio_host,
                "auth_host": instance.auth_host,
                "ca_cert": instance.rucio_ca_cert,
                "vo": instance.vo,
                "audience": instance.audience,
            }
            for name, instance in offer.rucio
        ],
        "mounts": [_mount(mount, states.get(mount.path)) for mount in mounts],
    }
    return (json.dumps(status, indent=2) + "\n").encode()


def instant(seconds: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC, whole seconds."""
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def _audience(choice: Choice, key: str, state: TokenState | None, withheld: str) -> dict[str, Any]:
    users = [instance.display_name or name for name, instance in choice.offer.rucio if instance.audience == key]
    for name, instance in choice.offer.rucio:
        shown = instance.display_name or name
        users += [f"{shown}: {pattern}" for pattern, access in instance.rses.items() if access.audience == key]
    users += [
        storage.display_name or name
        for name, storage in choice.offer.storages
        if getattr(storage, "audience", None) == key
    ]
    users += [basket.display_name or name for name, basket in choice.offer.baskets if basket.audience == key]
    missing = state is None or not state.value()
    return {
        "used_by": users,
        "valid_until": None if state is None or missing or withheld else instant(state.expires_at),
        "last_renewal": None if state is None else instant(state.renewed_at),
        "problem": _problem(None if state is None else state.problem, missing=missing and not withheld),
    }


def _problem(trouble: Trouble | None, *, missing: bool) -> dict[str, Any] | None:
    if trouble is not None:
        return {"class": trouble.label, "sentence": trouble.sentence, "since": instant(trouble.since)}
    if missing:
        return {"class": "missing", "sentence": "The hub has no token for it.", "since": None}
    return None


def _mount(mount: Mount, state: MountState | None) -> dict[str, Any]:
    return {
        "name": mount.name,
        "path": mount.path,
        "required": mount.required,
        "alive": None if state is None else state.alive,
        "problem": "" if state is None else state.problem,
        "since": None if state is None else instant(state.since),
    }

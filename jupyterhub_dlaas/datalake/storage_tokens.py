"""Storage with tokens of its own: which token a storage gets, and Rucio's clients made to send it.

Rucio's clients (35 to 41) send every storage the token for Rucio. Here a storage that the catalogue names under `rses`
gets the token of its own audience, and Rucio goes on getting its own.

    with own_tokens(instance):
        UploadClient(client).upload([...])      # or DownloadClient, for any number of storages at once
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Instance
from jupyterhub_dlaas.datalake.token_file import expiry, refusal

_GIVEN, _SETTLED = "_dlaas_given_token", "_dlaas_settled"
_LOCK = threading.Lock()
_chosen: list[Instance] = []
_for_good = ExitStack()


@contextmanager
def own_tokens(instance: Instance) -> Iterator[None]:
    """While it lasts, protocols of Rucio's clients in this process send each storage its own token.

    The token is read from its file each time it is used, so that one that was renewed meanwhile is taken up. Storage
    that no pattern of the instance names gets what it would get without this. Over https the storage has to show a
    certificate that this server trusts.
    """
    from jupyterhub_dlaas.datalake.verified_https import verified_https

    _install(instance)
    try:
        with verified_https(instance.ca_cert):
            yield
    finally:
        with _LOCK:
            _chosen.remove(instance)


def install(instance: Instance) -> None:
    """The same for the rest of the process; for children that do nothing else."""
    from jupyterhub_dlaas.datalake.verified_https import verified_https

    _install(instance)
    _for_good.enter_context(verified_https(instance.ca_cert))


def _install(instance: Instance) -> None:
    from rucio.rse.protocols.protocol import RSEProtocol

    with _LOCK:
        _chosen.append(instance)
        if not isinstance(RSEProtocol.__dict__.get("auth_token"), property):
            RSEProtocol.auth_token = property(_get, _set)


def read(path: Path | None) -> str | None:
    """The token in the file as it is now; None where there is none."""
    if path is None:
        return None
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def refused_by(rse: str, path: Path | None, token: str | None) -> Failure:
    """Why the storage did not take the token that was read from `path` (None: there was none). Names no token.

    `path` is None where the catalogue names none for this storage and it was sent the token for Rucio.
    """
    if path is None:
        return Failure(
            f"{rse} does not take your token for Rucio, and the catalogue names no other for it.",
            "Ask your VO to name the storage under `rses` in its catalogue.",
            Code.REFUSED,
        )
    until = expiry(token or "")
    if not token or (until is not None and until <= time.time()):
        return refusal(rse, path, token or "")
    audience, scopes = _claims(token)
    sentence = f"{rse} does not let you in with the token of {path.name}, which is for {audience} and allows {scopes}."
    return Failure(sentence, "Ask the storage's managers whether that is what they expect.", Code.REFUSED)


def why_refused(path: Path | None) -> str:
    """The same as the end of a sentence that names the storage already."""
    if path is None:
        return "the catalogue names no token for it, so it was sent yours for Rucio"
    token = read(path)
    if token is None:
        return f"this server has no token for it ({path.name})"
    until = expiry(token)
    if until is not None and until <= time.time():
        return f"the token for it ({path.name}) has expired"
    return "the token of {}, which was sent, is for {} and allows {}".format(path.name, *_claims(token))


def _claims(token: str) -> tuple[str, str]:
    """For whom a token is and what it allows, in words, not verified (RFC 7519; scopes as in RFC 8693 section 4.2)."""
    try:
        payload = token.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        audience, scope = said.get("aud"), said.get("scope")
    except (ValueError, IndexError, AttributeError):
        return "nobody knows whom", "nobody knows what"
    named = audience if isinstance(audience, list) else [audience] if audience else []
    return ", ".join(map(str, named)) or "nobody", str(scope or "nothing")


def _get(protocol: Any) -> str | None:
    """The storage's own token, or what Rucio's client gave to the protocol."""
    if not protocol.__dict__.get(_SETTLED):
        name = protocol.__dict__.get("rse", {}).get("rse", "")
        for instance in reversed(_chosen):
            if path := instance.storage_token(name):
                return read(path)
    given: str | None = protocol.__dict__.get(_GIVEN)
    return given


def _set(protocol: Any, token: str | None) -> None:
    # The first is the client's. A protocol that sets another one knows better: for a signed URL it sends none.
    protocol.__dict__[_SETTLED] = _GIVEN in protocol.__dict__
    protocol.__dict__[_GIVEN] = token

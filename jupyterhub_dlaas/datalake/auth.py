"""The Rucio auth type of this server: what it is, and a switch that every later bundle keeps to."""

from __future__ import annotations

import configparser
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.bundle import paths
from jupyterhub_dlaas.datalake import proxy
from jupyterhub_dlaas.datalake.advice import ADVICE
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.hub import HubAway, NoHub, ask, own_server
from jupyterhub_dlaas.datalake.proxy import Credential
from jupyterhub_dlaas.datalake.whoami import Answer, whoami

SWITCHABLE = ("oidc", "x509", "x509_proxy")
# The agent asks the hub at least every 45 seconds.
WAIT_SECONDS = 60.0
_RUCIO_SECONDS = 30.0
_AGAIN = "Try again in a minute. If it lasts, tell the hub's administrators."


@dataclass(frozen=True)
class Auth:
    """How this server signs in to Rucio.

    `auth_type` is what its rucio.cfg has, `allowed` what its environment lets one choose: empty where the hub could not
    be asked. `proxy` and `certificate` are None where there is none.
    """

    auth_type: str
    allowed: tuple[str, ...]
    proxy: Credential | None
    certificate: Credential | None


@dataclass(frozen=True)
class Switched:
    """The auth type that is in use now, the Rucio account that it gives, and what it signs in with."""

    auth_type: str
    account: str
    credential: Credential | None


def show(*, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Auth:
    """The state of this server. Raises Failure (USAGE) where there is no Rucio."""
    home, now, uid = home or Path.home(), proxy.now(), os.geteuid()
    pair = proxy.certificate_paths(environ, home)
    return Auth(
        auth_type=_in_rucio_cfg(environ),
        allowed=_allowed(environ),
        proxy=_or_none(lambda: proxy.look_at_proxy(proxy.proxy_path(environ, uid), uid=uid, now=now)),
        certificate=_or_none(lambda: proxy.look_at_certificate(*pair, uid=uid, now=now)),
    )


def switch(
    auth_type: str,
    *,
    voms: str | None = None,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
    wait_seconds: float = WAIT_SECONDS,
    on_wait: Callable[[], None] = lambda: None,
) -> Switched:
    """Makes `auth_type` the one of this server, from the next bundle on, and asks Rucio with it.

    What it signs in with is checked before the hub is asked; a proxy that is missing, at its end or without the VO
    `voms` is made where `voms-proxy-init` is installed. `on_wait` is called once, before the new rucio.cfg is waited
    for. Raises Failure: nothing is switched where certificate, proxy or hub are against it.
    """
    before = _in_rucio_cfg(environ)
    allowed = _allowed(environ)
    if allowed and auth_type not in allowed:
        _ask_hub(auth_type, environ)  # which has the sentence for it
    credential = _credential(auth_type, voms, environ, home or Path.home())
    _ask_hub(auth_type, environ)
    if before != auth_type:
        on_wait()
        _wait_for(auth_type, environ, wait_seconds)
    return Switched(auth_type, _account(auth_type, before), credential)


def _credential(auth_type: str, voms: str | None, environ: Mapping[str, str], home: Path) -> Credential | None:
    uid = os.geteuid()
    if auth_type == "x509_proxy":
        return _proxy(voms, environ, home, uid)
    if auth_type == "x509":
        found = proxy.look_at_certificate(*proxy.certificate_paths(environ, home), uid=uid, now=proxy.now())
        if found.failure:
            raise found.failure
        return found
    return None


def _proxy(voms: str | None, environ: Mapping[str, str], home: Path, uid: int) -> Credential:
    """A proxy that works: the one that is there, or a new one."""
    path = proxy.proxy_path(environ, uid)
    found = _or_none(lambda: proxy.look_at_proxy(path, uid=uid, now=proxy.now()))
    if found and found.failure and proxy.private(path, uid=uid):
        raise found.failure  # somebody may have it already: no new one is put in its place without the owner's word
    if found is None or found.failure or (voms and voms not in found.vos):
        try:
            proxy.make_proxy(path, vo=voms, environ=environ, home=home, uid=uid)
        except Failure as failure:
            if found and failure.code is Code.NOT_FOUND:
                # Not installed: what is wrong with the proxy says more than that none can be made.
                lacks = f"The proxy in {path} carries no membership of {voms}."
                wrong = found.failure or Failure(lacks, code=Code.REFUSED)
                raise Failure(wrong.sentence, failure.advice, wrong.code) from failure
            raise
        found = proxy.look_at_proxy(path, uid=uid, now=proxy.now())
    if found.failure:
        raise found.failure
    return found


def _allowed(environ: Mapping[str, str]) -> tuple[str, ...]:
    try:
        answer = ask("GET", "dlaas/status", environ=environ)
    except (NoHub, HubAway):
        return ()
    name = environ.get("JUPYTERHUB_SERVER_NAME", "")
    servers: list[dict[str, Any]] = answer.document.get("servers", []) if answer.status == 200 else []
    return next((tuple(server["auth_types"]) for server in servers if server["name"] == name), ())


def _ask_hub(auth_type: str, environ: Mapping[str, str]) -> None:
    try:
        answer = ask("POST", own_server(environ, "auth-type"), environ=environ, document={"auth_type": auth_type})
    except NoHub as error:
        raise Failure(str(error), "Run it in a server that you started at the hub.", Code.USAGE) from error
    except HubAway as error:
        raise Failure(
            f"The hub does not answer ({error}).", f"Nothing was switched. {_AGAIN}", Code.UNREACHABLE
        ) from error
    if answer.status == 200:
        return
    if answer.status >= 500:
        raise Failure(answer.sentence, f"Nothing was switched. {_AGAIN}", Code.UNREACHABLE)
    code = Code.USAGE if answer.status == 400 else Code.REFUSED
    raise Failure(answer.sentence, "Nothing was switched.", code)


def _in_rucio_cfg(environ: Mapping[str, str]) -> str:
    if not environ.get("DLAAS_DIR"):
        raise Failure(
            "This is not a data lake server: DLAAS_DIR is not set.",
            "Run it in a terminal or notebook of a server that you started at the hub.",
            Code.USAGE,
        )
    file = Path(environ["DLAAS_DIR"]) / paths.RUCIO_CFG
    config = configparser.ConfigParser()
    try:
        config.read_string(file.read_text())
        return config["client"]["auth_type"]
    except FileNotFoundError:
        raise Failure(f"This server has no Rucio: there is no {file}.", "", Code.USAGE) from None
    except (configparser.Error, KeyError) as error:
        raise Failure(f"{file} names no auth type.", "Stop and start the server.", Code.USAGE) from error


def _wait_for(auth_type: str, environ: Mapping[str, str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _in_rucio_cfg(environ) != auth_type:
        if time.monotonic() > deadline:
            late = f"but this server's files have not followed within {seconds:.0f} s."
            advice = "They follow when the server's agent reaches the hub. See: datalake auth"
            raise Failure(f"The hub has switched to {auth_type}, {late}", advice, Code.FAILED)
        time.sleep(min(0.2, seconds))


def _account(auth_type: str, before: str) -> str:
    """Who Rucio says the user is, by the server's own rucio.cfg."""
    said: Answer = whoami(limit_seconds=_RUCIO_SECONDS)
    if said.outcome == "ok":
        return said.account
    detail = f" ({said.detail})" if said.detail else ""
    back = "" if before == auth_type else f" To go back, type: datalake auth {before}"
    if said.outcome == "unreachable":
        sentence = f"The auth type is {auth_type} now, but Rucio cannot be reached{detail}."
        raise Failure(sentence, ADVICE["unreachable"] + back, Code.UNREACHABLE)
    sentence = f"The auth type is {auth_type} now, but Rucio does not accept your sign-in{detail}."
    whose = "Ask your VO's data managers whether Rucio knows the subject of your certificate."
    raise Failure(sentence, (ADVICE["refused"] if auth_type == "oidc" else whose) + back, Code.REFUSED)


def _or_none(look: Callable[[], Credential]) -> Credential | None:
    try:
        return look()
    except Failure as failure:
        if failure.code is Code.NOT_FOUND:
            return None
        raise


def as_json(state: Auth | Switched) -> dict[str, Any]:
    """For `--json`: instants as ISO 8601 in UTC, and `failure` as a sentence."""
    plain = dict(vars(state))
    return {key: _plain(value) if isinstance(value, Credential) else value for key, value in plain.items()}


def _plain(credential: Credential) -> dict[str, Any]:
    until = credential.valid_until
    return {
        **vars(replace(credential, failure=None)),
        "valid_until": until.isoformat() if until else None,
        "failure": credential.failure.sentence if credential.failure else "",
    }

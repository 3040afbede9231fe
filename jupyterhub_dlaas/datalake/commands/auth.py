"""`datalake auth`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from jupyterhub_dlaas.datalake.console import command_errors, json_option

if TYPE_CHECKING:
    from jupyterhub_dlaas.datalake.auth import Auth, Switched
    from jupyterhub_dlaas.datalake.proxy import Credential


@click.command()
@click.argument("auth_type", required=False, type=click.Choice(["oidc", "x509", "x509_proxy"]))
@click.option("--voms", metavar="VO", help="The proxy has to carry your membership of this VO.")
@json_option
@command_errors
def command(auth_type: str | None, voms: str | None, as_json: bool) -> None:
    """How this server signs in to Rucio: show it, or switch it.

    oidc is your login at the hub. x509 is a certificate with its key in ~/.globus, x509_proxy a proxy where grid tools
    put it (X509_USER_PROXY, or /tmp/x509up_u with your user number); a missing one is made where voms-proxy-init is
    installed. The switch lasts as long as the server. The hub writes rucio.cfg: what you change there is lost.

    \b
    Exit codes:
      0  shown, or switched and accepted by Rucio
      1  switched at the hub, but not in this server yet
      2  your environment does not allow this type, or this is not a data lake server
      3  there is no certificate or proxy
      4  the certificate or proxy cannot be used, or Rucio does not accept it
      6  the hub or Rucio cannot be reached

    \b
    Examples:
      datalake auth
      datalake auth x509_proxy --voms escape
      datalake auth oidc
      datalake auth --json | jq -r .proxy.valid_until
    """
    from jupyterhub_dlaas.datalake import auth, console

    if voms and auth_type != "x509_proxy":
        raise click.UsageError("--voms goes with x509_proxy.")
    if auth_type is None:
        state = auth.show()
        if as_json:
            console.as_json(auth.as_json(state))
        else:
            _show(state)
        return
    switched = auth.switch(
        auth_type,
        voms=voms,
        on_wait=lambda: console.note("The hub has switched. Waiting for this server's rucio.cfg, up to a minute."),
    )
    if as_json:
        console.as_json(auth.as_json(switched))
    else:
        _tell(switched)


def _show(state: Auth) -> None:
    from jupyterhub_dlaas.datalake import console, proxy

    console.out(f"Rucio auth type: {state.auth_type}")
    console.out(f"Allowed here: {', '.join(state.allowed) or 'not known, the hub could not be asked'}")
    for what, credential in (("Proxy", state.proxy), ("Certificate", state.certificate)):
        if credential is None:
            there = proxy.proxy_path(os.environ, os.geteuid()) if what == "Proxy" else "~/.globus"
            console.out(f"{what}: none ({there})")
        else:
            console.out(f"{what}: {credential.certificate}: {_words(credential)}")
            if credential.failure and credential.failure.advice:
                console.note(f"  -> {credential.failure.advice}")


def _tell(switched: Switched) -> None:
    from jupyterhub_dlaas.datalake import console, proxy

    console.out(f"Rucio knows you as {switched.account}, by {switched.auth_type}.")
    credential, usual = switched.credential, proxy.usual_proxy_path(os.geteuid())
    if credential:
        console.out(f"{credential.certificate}: {_words(credential)}")
    if credential and switched.auth_type == "x509_proxy" and credential.certificate != usual:
        console.note(f"Notebooks look for a proxy in {usual}: copy it there, with mode 600, for them to have it.")
    console.note("Restart kernels that use Rucio already.")


def _words(credential: Credential) -> str:
    until = credential.valid_until
    parts = [
        credential.subject,
        f"valid until {until.astimezone():%Y-%m-%d %H:%M}" if until else "",
        f"for {', '.join(credential.vos)}" if credential.vos else "",
        credential.failure.sentence if credential.failure else "",
    ]
    return ", ".join(part for part in parts if part)

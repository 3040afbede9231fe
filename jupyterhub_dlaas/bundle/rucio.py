"""`rucio.cfg`: the Rucio clients' configuration, for the environment's first instance."""

from __future__ import annotations

import configparser
import io

from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.catalogue.models import RucioInstance


def rucio_cfg(instance: RucioInstance, places: Places, *, user: str, account: str, auth_type: str) -> bytes:
    """Valid for rucio-clients 38 to 41 and for every auth type.

    - The token file is named for oidc alone: with x509 the clients would take it for a token of their own, and write
      theirs over it.
    - No `auth_oidc_refresh_active` (the clients' name; their documentation has `..._activate`): the hub renews.
    - No `client_x509_proxy`: it would hide `X509_USER_PROXY` and `/tmp/x509up_u<uid>`.
    """
    client = {
        "rucio_host": instance.rucio_host,
        "auth_host": instance.auth_host,
        "auth_type": auth_type,
        "account": account,
        "vo": instance.vo,
        "ca_cert": instance.rucio_ca_cert,
    }
    if auth_type == "oidc":
        client["auth_token_file_path"] = places.token(instance.audience)
    elif auth_type == "x509":
        # Both are required; the clients expand ~.
        client["client_cert"] = "~/.globus/usercert.pem"
        client["client_key"] = "~/.globus/userkey.pem"
    elif auth_type == "userpass":
        client["username"] = user
    return config_text({"client": {key: value for key, value in client.items() if value}})


def config_text(sections: dict[str, dict[str, str]]) -> bytes:
    """The sections as the clients read them: `ConfigParser` with interpolation, so `%` is doubled."""
    parser = configparser.ConfigParser()
    parser.read_dict({name: {k: v.replace("%", "%%") for k, v in keys.items()} for name, keys in sections.items()})
    text = io.StringIO()
    parser.write(text)
    return text.getvalue().encode()

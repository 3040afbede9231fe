"""The environment of a server: paths only, because a variable cannot change while the server runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jupyterhub_dlaas.bundle.paths import Places

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.offer import Choice

UNSET: tuple[str, ...] = (
    # Rucio clients >= 38 take a token from here before they look at rucio.cfg (WLCG bearer token discovery).
    "BEARER_TOKEN",
    # Would replace rucio.cfg for every client, the JupyterLab extension's downloads included.
    "RUCIO_CONFIG",
    # Win over rucio.cfg, and over each instance's own settings in the extension's downloads and uploads.
    "RUCIO_ACCOUNT",
    "RUCIO_VO",
    "RUCIO_AUTH_TYPE",
    "RUCIO_CLIENT_MODE",
    # eosxd tries these before OAUTH2_TOKEN. A proxy in /tmp/x509up_u<uid> is still found by the Rucio clients.
    "EOS_FUSE_CREDS",
    "KRB5CCNAME",
    "X509_USER_PROXY",
    # Where a token would be shown to every child process.
    "OAUTH2_TOKEN",
)
"""Variables that a server must not inherit from the hub, the node or an image; `environment` sets none but OAUTH2_TOKEN."""


def environment(choice: Choice, places: Places, base: Mapping[str, str]) -> dict[str, str]:
    """The variables to set over `base`, which is the environment the server would have without the data lake."""
    raise NotImplementedError

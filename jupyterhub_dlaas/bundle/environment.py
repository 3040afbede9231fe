"""The environment of a server: paths only, because a variable cannot change while the server runs."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.catalogue.models import EOSStorage

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.offer import Choice

UNSET: tuple[str, ...] = (
    # Rucio clients >= 38 take a token from here before they look at rucio.cfg (WLCG bearer token discovery).
    "BEARER_TOKEN",
    # Replaces rucio.cfg for every client, even in the JupyterLab extension's downloads: they would go to another Rucio.
    "RUCIO_CONFIG",
    # These win over rucio.cfg, and over each instance's own settings in the extension's downloads and uploads.
    "RUCIO_ACCOUNT",
    "RUCIO_AUTH_TYPE",
    "RUCIO_VO",
    # A Rucio client would take itself for a server.
    "RUCIO_CLIENT_MODE",
    # eosxd tries what these name before OAUTH2_TOKEN. x509_proxy goes on working: the Rucio clients, too, look for a
    # proxy where grid tools put it, /tmp/x509up_u<uid>.
    "EOS_FUSE_CREDS",
    "KRB5CCNAME",
    "X509_USER_PROXY",
)
"""Variables that a server must not inherit from the hub, the node or an image. `environment` sets none of them."""


def environment(choice: Choice, places: Places, base: Mapping[str, str]) -> dict[str, str]:
    """The variables to set over `base`, which is the environment the server would have without the data lake.

    They must be there when the server's first process starts: eosxd reads `/proc/<pid>/environ`, which is fixed then.
    """
    variables = {
        "DLAAS_DIR": places.files_dir,
        "JUPYTER_CONFIG_PATH": _joined(places.jupyter_config_dir, base.get("JUPYTER_CONFIG_PATH", "")),
        "BEARER_TOKEN_FILE": no_bearer_token_file(places),
    }
    if choice.offer.rucio:
        variables["RUCIO_HOME"] = places.rucio_home
        # The extension's default is one folder in /tmp for all users of a machine.
        variables["RUCIO_CACHE_DIR"] = places.cache_dir
        variables["PYTHONSTARTUP"] = places.python_startup
        if own := base.get("PYTHONSTARTUP"):
            variables["DLAAS_PYTHONSTARTUP"] = own
    if eos_storage(choice) is not None:
        variables["OAUTH2_TOKEN"] = f"FILE:{places.eos_token}"
    if choice.offer.environment.xcache_site:
        # Read by rucio-clients (not RUCIO_SITE_NAME): goes to the server as client_location.site.
        variables["SITE_NAME"] = choice.offer.environment.xcache_site
    return variables


def no_bearer_token_file(places: Places) -> str:
    """A `BEARER_TOKEN_FILE` that ends the Rucio clients' search for WLCG bearer tokens without one.

    They look in `BEARER_TOKEN_FILE`, `$XDG_RUNTIME_DIR/bt_u<uid>` and `/tmp/bt_u<uid>`, in this order and before
    `auth_token_file_path`: a token for another audience, or one that somebody else left in /tmp, would win. A file that
    does not exist sends them on; any other error ends the search (`rucio.common.utils.wlcg_token_discovery`, the same
    in 38 to 41). A path below a regular file is such an error (ENOTDIR). eosxd, which looks there before OAUTH2_TOKEN,
    passes over a file it cannot open.
    """
    return posixpath.join(places.status, "tokens-are-in-DLAAS_DIR")


def eos_storage(choice: Choice) -> EOSStorage | None:
    """The environment's EOS storage with OAuth2. There is at most one: eosxd reads a single `OAUTH2_TOKEN`."""
    for _, storage in choice.offer.storages:
        if isinstance(storage, EOSStorage) and storage.audience:
            return storage
    return None


def _joined(first: str, others: str) -> str:
    rest = [entry for entry in others.split(":") if entry and entry != first]
    return ":".join([first, *rest])

"""The hub's configuration, loaded as JupyterHub loads it but without a database, a port or a proxy."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.catalogue.grants import Grant, parse_grants
from jupyterhub_dlaas.errors import ConfigError, DLaaSError

DEFAULT = "jupyterhub_config.py"
# A setting of a base class reaches the subclass too; the last section that names it wins.
_AUTHENTICATORS = ("Authenticator", "OAuthenticator", "GenericOAuthenticator", "IAMAuthenticator")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged meanwhile: a command's report has it already."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def load(path: str) -> Any:
    """A JupyterHub application that has read the file. ConfigError, with what went wrong, if it cannot be read."""
    from jupyterhub.app import JupyterHub

    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"There is no file {path}.", hint="Name the hub's configuration with --config FILE.")
    app = JupyterHub(config_file=str(file.resolve()))
    try:
        # Undecorated: the decorator logs a trait's error and exits the process.
        type(app).load_config_file.__wrapped__(app, app.config_file)
    except DLaaSError:
        raise
    except Exception as error:  # the file is a program and may raise anything
        raise ConfigError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return app


def catalogue_settings(config: Any) -> tuple[str, Mapping[str, Grant], Collection[str]]:
    """Path of the catalogues, grants, and keys of the audiences, as the configuration has them."""
    section = config["DLaaSConfig"]
    audiences: Collection[str] = ()
    for name in _AUTHENTICATORS:
        audiences = config[name].get("audiences", audiences)
    return str(section.get("catalogue", "")), parse_grants(dict(section.get("vos", {}))), tuple(audiences)

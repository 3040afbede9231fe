"""Where everything lies in a server. These names are a promise to users; README and docs list them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

# Relative to $DLAAS_DIR.
TOKENS = "tokens"
EOS_TOKEN = "eos/token"  # noqa: S105  a path
RUCIO_CFG = "rucio/etc/rucio.cfg"
JUPYTER_CONFIG = "jupyter/jupyter_server_config.json"
LAB_DEFAULTS = "jupyter/labconfig/default_setting_overrides.json"
PYTHON_STARTUP = "python/startup.py"
STATUS = "status.json"
DATALAKE = "datalake.json"
# Relative to $RUCIO_CACHE_DIR; rucio_jupyterlab.db.prepare_db gives the name.
CACHE_DB = "cache.db"


def token(key: str) -> str:
    """The token file of the audience `key`, relative to `$DLAAS_DIR`."""
    return f"{TOKENS}/{key}"


@dataclass(frozen=True)
class Places:
    """The absolute paths in one server, from its `$DLAAS_DIR` and `$RUCIO_CACHE_DIR`.

    `files_dir` has one unguessable component per server: eosxd caches a login by path, uid and jail id, which two
    users' servers may otherwise share. It is a real path (no link in it) without the characters `&` and `=`, which
    make eosxd use unix authentication; a wrong one is a `ValueError`.
    """

    files_dir: str
    cache_dir: str

    def __post_init__(self) -> None:
        for path in (self.files_dir, self.cache_dir):
            if not posixpath.isabs(path) or posixpath.normpath(path) != path or set(path) & set("&=\n\r\0"):
                raise ValueError(f"{path!r} must be an absolute path without '..', '&', '=' or a trailing slash")

    def token(self, key: str) -> str:
        """The bare token of the audience `key`."""
        return posixpath.join(self.files_dir, token(key))

    @property
    def eos_token(self) -> str:
        """What `OAUTH2_TOKEN` points to."""
        return posixpath.join(self.files_dir, EOS_TOKEN)

    @property
    def rucio_home(self) -> str:
        """`RUCIO_HOME`: the Rucio clients look for `etc/rucio.cfg` in it."""
        return posixpath.join(self.files_dir, "rucio")

    @property
    def rucio_cfg(self) -> str:
        """The Rucio clients' configuration."""
        return posixpath.join(self.files_dir, RUCIO_CFG)

    @property
    def jupyter_config_dir(self) -> str:
        """First entry of `JUPYTER_CONFIG_PATH`."""
        return posixpath.join(self.files_dir, posixpath.dirname(JUPYTER_CONFIG))

    @property
    def python_startup(self) -> str:
        """`PYTHONSTARTUP`: loads the Rucio extension in every IPython kernel."""
        return posixpath.join(self.files_dir, PYTHON_STARTUP)

    @property
    def datalake(self) -> str:
        """What the command `datalake` reads: instances, scratch spaces, baskets, and where their tokens are."""
        return posixpath.join(self.files_dir, DATALAKE)

    @property
    def status(self) -> str:
        """Validity and problems per audience, mounts; never a token."""
        return posixpath.join(self.files_dir, STATUS)

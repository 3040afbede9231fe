"""The Jupyter server extension: downloads and uploads of every Rucio instance use that instance's own token."""

from __future__ import annotations

import multiprocessing
from typing import Any

from jupyterhub_dlaas.datalake import rucio_tokens


def _load_jupyter_server_extension(server_app: Any) -> None:
    """Called by jupyter_server. A server without rucio-jupyterlab, or with another kind of it, starts all the same."""
    reason = rucio_tokens.install()
    if reason:
        server_app.log.warning("jupyterhub_dlaas: downloads and uploads do not get their own Rucio tokens: %s", reason)
        return
    # Python 3.14 starts processes from a fork server, which has not seen this process's modules.
    multiprocessing.set_forkserver_preload(["__main__", "jupyterhub_dlaas.datalake.preload"])
    server_app.log.info("jupyterhub_dlaas: downloads and uploads use the token of their Rucio instance")

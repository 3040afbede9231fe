"""The Jupyter server extension: downloads and uploads of every Rucio instance use that instance's own token."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from typing import Any

from jupyterhub_dlaas.datalake import rucio_tokens
from jupyterhub_dlaas.datalake.hub import HubAway, NoHub, ask, own_server


def _load_jupyter_server_extension(server_app: Any) -> None:
    """Called by jupyter_server. A server without rucio-jupyterlab, or with another kind of it, starts all the same."""
    reason = rucio_tokens.install()
    threading.Thread(target=_tell_hub, args=(reason, server_app.log), daemon=True).start()
    if reason:
        server_app.log.warning("jupyterhub_dlaas: downloads and uploads do not get their own Rucio tokens: %s", reason)
        return
    # Python 3.14 starts processes from a fork server, which has not seen this process's modules.
    multiprocessing.set_forkserver_preload(["__main__", "jupyterhub_dlaas.datalake.preload"])
    server_app.log.info("jupyterhub_dlaas: downloads and uploads use the token of their Rucio instance")


def _tell_hub(problem: str, log: logging.Logger) -> None:
    """For the hub's status page, by the server's own token; without a hub nothing is said."""
    try:
        answer = ask("POST", own_server(os.environ, "own-tokens"), environ=os.environ, document={"problem": problem})
    except NoHub:
        return
    except HubAway as error:
        log.warning("jupyterhub_dlaas: the hub was not told: %s", error)
    else:
        log.debug("jupyterhub_dlaas: the hub was told: %s", answer.status)

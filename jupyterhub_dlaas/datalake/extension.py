"""The Jupyter server extension: downloads and uploads of every Rucio instance use that instance's own token."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from typing import Any

import requests

from jupyterhub_dlaas.datalake import rucio_tokens

_HUB_SECONDS = 10


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
    api, token = os.environ.get("JUPYTERHUB_API_URL"), os.environ.get("JUPYTERHUB_API_TOKEN")
    if not api or not token:
        return
    server = os.environ.get("JUPYTERHUB_SERVER_NAME", "")
    url = f"{api.rstrip('/').removesuffix('api')}dlaas/servers/{f'{server}/' if server else ''}own-tokens"
    with requests.Session() as session:
        session.trust_env = False  # the token goes to the hub: by no proxy, and with no password of a .netrc instead
        session.verify = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE") or True
        try:
            answer = session.post(
                url,
                json={"problem": problem},
                headers={"Authorization": f"token {token}"},
                timeout=_HUB_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            log.warning("jupyterhub_dlaas: the hub was not told: %s", type(error).__name__)
        else:
            log.debug("jupyterhub_dlaas: the hub was told: %s", answer.status_code)

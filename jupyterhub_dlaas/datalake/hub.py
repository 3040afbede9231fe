"""How a server speaks to its hub: with its own JUPYTERHUB_API_TOKEN, and with nobody in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

_HUB_SECONDS = 10


class NoHub(Exception):
    """This process does not run in a server of a hub; the message is a sentence."""


class HubAway(Exception):
    """The hub did not answer; the message says how that showed, in a word."""


@dataclass(frozen=True)
class Answer:
    """The hub's answer: `document` is {} where it sent no JSON object."""

    status: int
    document: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        """What the hub says against it, in its own words."""
        return str(self.document.get("message") or f"The hub answered with status {self.status}.")


def own_server(environ: Mapping[str, str], action: str) -> str:
    """The path, below the hub's prefix, of something that concerns this server: `dlaas/servers/second/auth-type`."""
    name = quote(environ.get("JUPYTERHUB_SERVER_NAME", ""), safe="")
    return f"dlaas/servers/{name}/{action}" if name else f"dlaas/servers/{action}"


def ask(
    method: str,
    path: str,
    *,
    environ: Mapping[str, str],
    document: Mapping[str, Any] | None = None,
    timeout_seconds: float = _HUB_SECONDS,
) -> Answer:
    """Asks the hub for `path` below its prefix (`dlaas/status`). Raises NoHub or HubAway; no status is an error."""
    import requests

    api, token = environ.get("JUPYTERHUB_API_URL"), environ.get("JUPYTERHUB_API_TOKEN")
    if not api or not token:
        raise NoHub("This is not a server of a hub: JUPYTERHUB_API_URL or JUPYTERHUB_API_TOKEN is not set.")
    with requests.Session() as session:
        session.trust_env = False  # the token goes to the hub: by no proxy, and with no password of a .netrc instead
        session.verify = environ.get("SSL_CERT_FILE") or environ.get("REQUESTS_CA_BUNDLE") or True
        try:
            answer = session.request(
                method,
                f"{api.rstrip('/').removesuffix('api')}{path}",
                json=document,
                headers={"Authorization": f"token {token}", "Accept": "application/json"},
                timeout=timeout_seconds,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # By its class alone: the message of one has the whole request in it.
            raise HubAway(type(error).__name__) from error
    try:
        said = answer.json()
    except ValueError:
        said = None
    return Answer(answer.status_code, said if isinstance(said, dict) else {})

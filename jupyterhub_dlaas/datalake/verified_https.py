"""Rucio's WebDAV protocol, made to look at certificates before it sends a token.

Rucio's clients (35 to 41) speak to https storage with `verify=False` in every request: the token of a storage, and the
data, would go to whoever answers. Here the server has to show a certificate that this machine trusts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyterhub_dlaas.datalake.streams import trusting_adapter

_LOCK = threading.Lock()


@contextmanager
def verified_https(ca_cert: str | None) -> Iterator[None]:
    """While it lasts, Rucio's WebDAV protocol trusts the system's CAs, those of X509_CERT_DIR, and `ca_cert` alone."""
    import requests
    from rucio.rse.protocols import webdav

    adapter = trusting_adapter(ca_cert)

    class Verifying(requests.Session):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            super().mount("https://", adapter)
            self.auth = _keep  # or requests would put a password of ~/.netrc in the token's place

        def mount(self, prefix: str, adapter: Any) -> None:
            """Rucio's own adapter does not verify."""
            if prefix != "https://" or not self.adapters.get("https://"):
                super().mount(prefix, adapter)

        def request(self, *args: Any, **kwargs: Any) -> Any:
            return super().request(*args, **{**kwargs, "verify": True})

    class Requests:
        Session = Verifying

        def __getattr__(self, name: str) -> Any:
            return getattr(requests, name)

    with _LOCK:
        before, webdav.requests = webdav.requests, Requests()
    try:
        yield
    finally:
        with _LOCK:
            webdav.requests = before


def _keep(request: Any) -> Any:
    return request

"""The one HTTP client for everything that is asked of IAM: pooled, bounded in time and size, and lean.

Every hub request to IAM carries a secret, so nothing is followed, stored or guessed: no redirects, no cookies, no
`.netrc`. Nothing is sent twice either: a refresh that was answered and is sent again kills the session at Keycloak.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlsplit

import aiohttp
from yarl import URL

from jupyterhub_dlaas.errors import ConfigError, Outage

MAX_BODY_BYTES = 1 << 20
"""More than any answer of an issuer; a token is a few kB, a key set some tens."""

CONNECT_SECONDS = 10.0
# Shorter than the keep-alive of any usual server, so that a request is not sent into a connection about to be closed.
_KEEP_ALIVE_SECONDS = 15.0
_FORM = "application/x-www-form-urlencoded"
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


@dataclass(frozen=True)
class Answer:
    """What the other side said; `headers` is case-insensitive, `url` has no query."""

    status: int
    # Both may quote tokens, so neither shows in a log line or traceback.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = ""

    def json(self) -> Any:
        """The body as JSON. `Outage` when it is none: that is a proxy's or a dying server's page, not an answer."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Outage(
                f"{_host(self.url)} answered with something that is not JSON (HTTP {self.status}).",
                hint="A proxy or a starting server may have answered in its place. This is tried again by itself.",
            ) from None


class HTTP:
    """One pooled session per event loop, made at the first request.

    `ca_file` replaces the system's certificate authorities, as `SSL_CERT_FILE` does; `timeout_seconds` bounds a whole
    request, body included. `http_proxy`, `https_proxy` and `no_proxy` are obeyed as they were at the first request.
    """

    def __init__(self, *, ca_file: str | None = None, timeout_seconds: float = 30, max_connections: int = 100) -> None:
        try:
            # OpenSSL itself reads SSL_CERT_FILE and SSL_CERT_DIR when no file is given.
            self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigError(
                f"The certificate authorities cannot be read from {ca_file!r}: {error.strerror or error}.",
                hint="Name a readable PEM file.",
            ) from error
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._targets: dict[str, tuple[URL, str | None]] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Sends `data` as a form (UTF-8) and returns whatever was answered, redirects and errors included.

        `Outage` when there was no whole answer: no connection, an untrusted certificate, cut off, too late, too long.
        """
        body = aiohttp.BytesPayload(_form(data), content_type=_FORM) if data is not None else None
        target, proxy = self._targets.get(url) or self._target(url)
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        # Connecting has a limit of its own; waiting for a free connection of the pool counts to the total alone.
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS))
        try:
            async with self._session().request(
                method, target, data=body, headers=headers, timeout=timeout, allow_redirects=False, proxy=proxy
            ) as response:
                content = await _read(response)
                return Answer(response.status, response.headers, content, url.partition("?")[0])
        # The causes are not chained: aiohttp's may hold the headers that were sent or the bytes that came.
        except TimeoutError:
            raise Outage(f"{_host(url)} did not answer within {seconds:g} seconds.", hint=_WAIT) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise Outage(
                f"The certificate of {_host(url)} is not trusted: {_why(error.certificate_error)}.",
                hint="An administrator of the hub can name its certificate authority in ca_file or SSL_CERT_FILE.",
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Outage(f"{_host(url)} cannot be reached: {_why(error)}.", hint=_WAIT) from None

    async def close(self) -> None:
        """Closes the connections of this event loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._tls,
                limit=self._max_connections,
                ttl_dns_cache=60,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                # The system's own resolver: c-ares does not know all of nsswitch.conf.
                resolver=aiohttp.ThreadedResolver(),
            )
            self._sessions = {each: kept for each, kept in self._sessions.items() if not each.is_closed()}
            session = self._sessions[loop] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "User-Agent": "jupyterhub-dlaas"},
            )
        return session

    def _target(self, url: str) -> tuple[URL, str | None]:
        # aiohttp's trust_env reads .netrc and the proxy variables in threads, for every request; once is enough.
        parts = urlsplit(url)
        host = parts.hostname or ""
        # A proxy's loopback is not this machine's.
        direct = host in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(host)
        proxy = None if direct else urllib.request.getproxies().get(parts.scheme)
        target = (URL(url), proxy)
        if len(self._targets) < 64:
            self._targets[url] = target
        return target


_WAIT = "Nothing is lost. This is tried again by itself; if it lasts, ask the administrators of IAM."


def _form(data: Mapping[str, str]) -> bytes:
    """What `urllib.parse.urlencode` makes; tokens need no quoting, and seeing that first saves a tenth of a request."""
    pairs = (f"{name}={value if _PLAIN(value) else quote_plus(value)}" for name, value in data.items())
    return "&".join(pairs).encode()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            response.close()
            raise Outage(f"{_host(str(response.url))} answered with more than {MAX_BODY_BYTES} bytes.", hint=_WAIT)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or "IAM"


def _why(error: Exception) -> str:
    """The error in words, without a URL's query, where a code or token may be."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer came"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what it answered is not HTTP"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer was cut off"
    return type(error).__name__

"""The bytes of one source as they come, over root://, https:// or from a mounted folder, by the storage's token.

Rucio's own protocol classes are not used for these. For root:// they ask the origin even where a cache has the file,
hand the token over in an environment variable, which cannot be renewed, and report a refusal as a missing file; for
https:// they check no certificate.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.sources import Source
from jupyterhub_dlaas.datalake.storage_tokens import read, refused_by

CHUNK = 1 << 20  # bytes
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# The defaults of XRootD's client wait for half an hour for a server that is gone. What the user sets counts.
_PATIENCE = {
    "XRD_CONNECTIONWINDOW": "8",
    "XRD_CONNECTIONRETRY": "1",
    "XRD_STREAMERRORWINDOW": "30",
    "XRD_REQUESTTIMEOUT": "120",
    "XRD_STREAMTIMEOUT": "60",
}
_HTTP_SECONDS = (15.0, 60.0)  # to connect, and of silence


class Stopped(Exception):
    """Whoever asked for the bytes does not want them any more."""


class Reader:
    """Opens sources for one thread; `stop` ends what is under way, `close` ends for good."""

    def __init__(self, token_of: Callable[[str], Path | None], rucio_token: Path | None, ca_cert: str | None) -> None:
        self._token_of = token_of
        self._rucio_token = rucio_token
        self._ca_cert = ca_cert
        self._session: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Called from another thread: what is being read ends with `Stopped`."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()

    def can(self, source: Source) -> bool:
        """Whether the source is of a kind that is read here; others are Rucio's own protocols' business."""
        if source.scheme in {"root", "roots", "xroot"}:
            return shutil.which("xrdcp") is not None
        signed_in = self.token_file(source) is not None or proxy_certificate() is not None
        return source.scheme in {"file", "http", "https"} or (source.scheme == "davs" and signed_in)

    def token_file(self, source: Source) -> Path | None:
        """The file of the token that this source is sent: the storage's own, else that for Rucio, if there is one."""
        return self._token_of(source.rse) or self._rucio_token

    def chunks(self, source: Source) -> Iterator[memoryview | bytes]:
        """The bytes. Failure: REFUSED, NOT_FOUND, UNREACHABLE or FAILED, in words; Stopped."""
        if source.scheme == "file":
            chunks: Iterator[memoryview | bytes] = self._file(source)
        else:
            chunks = self._http(source) if source.scheme in {"http", "https", "davs"} else self._root(source)
        for chunk in chunks:
            if self._stopped.is_set():
                raise Stopped
            yield chunk

    def _file(self, source: Source) -> Iterator[memoryview | bytes]:
        path = source.path or Path(unquote(urlsplit(source.pfn).path))
        buffer = memoryview(bytearray(CHUNK))
        with open(path, "rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                yield buffer[:count]

    # --- root:// ----------------------------------------------------------------------------------------------------

    def _root(self, source: Source) -> Iterator[memoryview | bytes]:
        path = self.token_file(source)
        token = read(path)
        with tempfile.TemporaryFile() as errors:
            command = ["xrdcp", "--nopbar", "--force", source.pfn, "-"]
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_root_environ(path, token),
                pipesize=CHUNK,
                start_new_session=True,  # Ctrl-C is for us: it would look like a broken transfer
            )
            try:
                assert process.stdout is not None
                yield from _blocks(process.stdout)
                code = process.wait()
            finally:
                process.kill()
                process.wait()
                self._process = None
            if self._stopped.is_set():
                raise Stopped
            if code:
                errors.seek(0)
                said = errors.read().decode(errors="replace")
                raise self._root_failure(source, code, said, path, token)

    def _root_failure(self, source: Source, code: int, said: str, path: Path | None, token: str | None) -> Failure:
        words = _last_words(said)
        low = said.lower()
        if code == 52 or re.search(
            r"\[30(10|30)\]|permission denied|not authorized|auth failed|no protocols left", low
        ):
            return self._refused(source, path, token, words)
        if re.search(r"\[3011\]|no such file|not found", low):
            return Failure(f"{source.rse} does not have the file that Rucio expects there.", "", Code.NOT_FOUND)
        if code in {50, 51} or re.search(r"connection|timed? ?out|expired|socket|unreachable|invalid address", low):
            return Failure(f"{source.rse} does not answer ({words}).", "", Code.UNREACHABLE)
        return Failure(f"{source.rse} does not give the file ({words or f'xrdcp ended with {code}'}).", "", Code.FAILED)

    def _refused(self, source: Source, path: Path | None, token: str | None, words: str) -> Failure:
        if path is None:
            return Failure(f"{source.rse} does not let you in ({words}).", "Ask the storage's managers.", Code.REFUSED)
        return refused_by(source.rse, self._token_of(source.rse), token)

    # --- https:// ---------------------------------------------------------------------------------------------------

    def _http(self, source: Source) -> Iterator[memoryview | bytes]:
        import requests

        path = self.token_file(source)
        token = read(path)
        certificate = None if path else proxy_certificate()
        asked = {"headers": self.headers(source), "cert": certificate, "stream": True, "timeout": _HTTP_SECONDS}
        url = _https(source)
        try:
            with self._http_session().get(url, **asked) as answer:
                if answer.status_code in {401, 403}:
                    raise self._refused(source, path, token, f"HTTP {answer.status_code}")
                if answer.status_code == 404:
                    sentence = f"{source.rse} does not have the file that Rucio expects there."
                    raise Failure(sentence, "", Code.NOT_FOUND)
                if answer.status_code in {429, 500, 502, 503, 504}:
                    raise Failure(f"{source.rse} is out of order (HTTP {answer.status_code}).", "", Code.UNREACHABLE)
                if answer.status_code != 200:
                    raise Failure(f"{source.rse} does not give the file (HTTP {answer.status_code}).", "", Code.FAILED)
                came = 0
                for chunk in answer.iter_content(CHUNK):
                    came += len(chunk)
                    yield chunk
                if came < int(answer.headers.get("Content-Length") or 0):
                    raise Failure(f"{source.rse} broke off in the middle of the file.", "", Code.UNREACHABLE)
        except requests.exceptions.SSLError as error:
            sentence = f"The certificate of {source.rse} ({urlsplit(url).netloc}) is not one that this server trusts."
            raise Failure(sentence, "Set X509_CERT_DIR to the folder of its CA.", Code.UNREACHABLE) from error
        except requests.RequestException as error:
            raise Failure(f"{source.rse} does not answer ({type(error).__name__}).", "", Code.UNREACHABLE) from error

    def headers(self, source: Source) -> dict[str, str]:
        """What is sent with a request for an https source: the token, unless its URL is signed or the line is open."""
        headers, parts = {"Accept-Encoding": "identity"}, urlsplit(_https(source))
        private = parts.scheme == "https" or parts.hostname in _LOOPBACK
        token = read(self.token_file(source))
        if token and private and "signature" not in parts.query.lower():
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _http_session(self) -> Any:
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.auth = _keep  # or requests would put a password of ~/.netrc in the token's place
            self._session.mount("https://", trusting_adapter(self._ca_cert))
        return self._session


def proxy_certificate() -> str | None:
    """The user's X.509 proxy, where grid tools put it, for storage that is sent no token."""
    path = os.environ.get("X509_USER_PROXY") or f"/tmp/x509up_u{os.geteuid()}"  # noqa: S108  the name all agreed on
    return path if os.path.isfile(path) else None


def _https(source: Source) -> str:
    return "https" + source.pfn[4:] if source.scheme == "davs" else source.pfn


def _keep(request: Any) -> Any:
    return request


@functools.cache
def trusting_adapter(ca_cert: str | None) -> Any:
    """Trusts what the system trusts, the grid's CAs where X509_CERT_DIR names them, and the catalogue's own."""
    from requests.adapters import HTTPAdapter

    context = ssl.create_default_context()
    grid = os.environ.get("X509_CERT_DIR")
    if grid and os.path.isdir(grid):
        context.load_verify_locations(capath=grid)
    if ca_cert and os.path.isfile(ca_cert):
        context.load_verify_locations(cafile=ca_cert)

    class Trusting(HTTPAdapter):  # type: ignore[misc]
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, ssl_context=context)

    return Trusting()


def _root_environ(path: Path | None, token: str | None) -> dict[str, str]:
    """The client reads the token's file itself, at every sign-in anew. The file has to be 0600, as ours is."""
    environ = {**_PATIENCE, **os.environ}
    if path is not None:
        environ.pop("BEARER_TOKEN", None)
        environ["BEARER_TOKEN_FILE"] = str(path)
        environ["XrdSecPROTOCOL"] = "ztn" if token else environ.get("XrdSecPROTOCOL", "ztn")
    return environ


def _blocks(stream: IO[bytes]) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(CHUNK))
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        yield buffer[:count]


def _last_words(said: str) -> str:
    """The last line of an XRootD client's complaint, without the URL."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return re.sub(r"\S+://\S+", "", lines[-1].removeprefix("Run: "))[:160].strip() if lines else ""

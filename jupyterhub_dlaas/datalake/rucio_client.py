"""Rucio's own client, made fit for a server that is signed in already.

Every request of the clients 38 to 41 goes through `BaseClient._send_request`, which is replaced here. The original
reads its token once; at a 401 it prints a login link and waits on standard input for a code, although Rucio answers
401 to a missing permission, too; and it keeps tokens in files named after the account alone, whichever Rucio they are
for.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from rucio.client.client import Client
from rucio.common.utils import parse_response
from urllib3.exceptions import NewConnectionError  # type: ignore[import-untyped,unused-ignore]

from jupyterhub_dlaas.datalake.advice import ADVICE
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Instance, Lake
from jupyterhub_dlaas.datalake.token_file import TokenFile, refusal

_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between the attempts in an outage
_CONNECT_SECONDS = 10.0
_AWAY = frozenset({502, 503, 504})
# Requests that change nothing, whatever their method says.
_READS = ("/replicas/list", "/dids/bulkmeta", "/dids/bulkfiles", "/replicas/datasets_bulk")
_SIGN_IN = frozenset({"", "CannotAuthenticate", "CannotAuthorize", "RucioException"})
_CHUNK = 2**16
_IN_MEMORY = 2**22  # bytes of an answer
_DEFAULT_VO = "def"  # what Rucio calls the VO of a server that has one


class LakeClient(Client):  # type: ignore[misc]
    """A client of one instance, from this server's own configuration alone: no RUCIO_* variable is needed.

    Raises Failure (REFUSED) when Rucio does not accept the sign-in; else what Rucio's client raises.
    """

    pauses: Sequence[float] = _PAUSES

    def __init__(self, lake: Lake, instance: Instance, *, timeout: float, environ: Mapping[str, str]) -> None:
        self._instance = instance
        self._tokens = TokenFile(instance.token) if lake.auth_type == "oidc" and instance.token else None
        self._own_token = ""
        super().__init__(
            rucio_host=instance.rucio_host,
            auth_host=instance.auth_host,
            account=lake.account or None,
            # None would be looked up in rucio.cfg, which is another instance's.
            ca_cert=instance.ca_cert or environ.get("X509_CERT_DIR") or True,
            auth_type=lake.auth_type,
            creds=_credentials(lake.auth_type, environ),
            timeout=timeout,
            vo=instance.vo or _DEFAULT_VO,
            user_agent="jupyterhub-dlaas",
        )

    @property
    def auth_token(self) -> str:
        """The token for the next request: read from its file if that has changed."""
        return self._tokens.value() if self._tokens else self._own_token

    @auth_token.setter
    def auth_token(self, value: str) -> None:
        self._own_token = value

    # The next four replace private methods of BaseClient, which Python knows by these names.

    def _BaseClient__authenticate(self) -> None:  # noqa: N802
        self.session.rebuild_auth = _same_host(self.session)  # a redirect to another host does not get the token
        if self.auth_type != "oidc":
            super()._BaseClient__authenticate()
        elif not self.auth_token:
            raise self._refusal("")

    def _BaseClient__get_token(self) -> None:  # noqa: N802
        if self.auth_type == "oidc":
            raise self._refusal(self.auth_token)
        super()._BaseClient__get_token()

    def _BaseClient__read_token(self) -> bool:  # noqa: N802
        return False

    def _BaseClient__write_token(self) -> None:  # noqa: N802
        pass

    def _send_request(
        self,
        url: str,
        method: Any = None,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        params: Any = None,
        stream: bool = False,
        get_token: bool = False,
        cert: Any = None,
        auth: Any = None,
        verify: Any = None,
        type_: str = "GET",
    ) -> requests.Response:
        """One request, repeated in a short outage where that does no harm. `type_` is the method's name in 38."""
        verb = str(getattr(method, "value", method or type_))
        parts = urlsplit(url)
        # The clients write a space in a name as "+", which in a path is a plus; a real one they write as %2B.
        url = urlunsplit(parts._replace(path=parts.path.replace("+", "%20")))
        harmless = verb in {"GET", "HEAD", "PUT"} or parts.path.endswith(_READS)
        pauses = iter(self.pauses)
        signed_in_again = False
        while True:
            token = self.auth_token
            try:
                answer = self.session.request(
                    verb,
                    url,
                    headers={**self._headers(token, get_token), **(headers or {})},
                    data=data,
                    params=params,
                    stream=stream or verb == "GET",
                    timeout=(min(self.timeout, _CONNECT_SECONDS), self.timeout),
                    verify=self.ca_cert if verify is None else verify,
                    cert=cert,
                    auth=auth,
                )
            except requests.ConnectionError as error:
                pause = next(pauses, None)
                if pause is None or not (_never_sent(error) or (harmless and _broken(error))):
                    raise
                time.sleep(pause)
                continue
            if answer.status_code == requests.codes.unauthorized and not get_token:
                if answer.headers.get("ExceptionClass", "") not in _SIGN_IN:
                    return answer  # signed in, but not permitted
                if signed_in_again or not self._sign_in_again(token):
                    raise self._refusal(token)
                signed_in_again = True
                continue
            if answer.status_code not in _AWAY or not (harmless or answer.status_code == 503):
                return answer
            pause = next(pauses, None)
            if pause is None:
                return answer
            answer.close()
            time.sleep(pause)

    def _load_json_data(self, response: requests.Response) -> Iterator[Any]:
        """A list of any length, taken from the server at once and kept on disk until it is read.

        The original leaves it at the server until somebody reads on: a worker there waits for that, and a server with
        no other worker would never answer what is asked meanwhile.
        """
        if response.headers.get("content-type") != "application/x-json-stream":
            original: Iterator[Any] = super()._load_json_data(response)
            return original
        kept = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  closed when it has been read
        for chunk in response.iter_content(_CHUNK):
            kept.write(chunk)
        kept.seek(0)
        return _parsed(kept)

    def _headers(self, token: str, get_token: bool) -> dict[str, str]:
        headers = {
            "X-Rucio-Auth-Token": token,
            "X-Rucio-VO": self.vo,
            "X-Rucio-Account": self.account,
            "X-Rucio-Script": re.sub(r"[^ -~]", "?", self.script_id),
            "X-Rucio-AppID": self._instance.app_id if get_token else None,
            "User-Agent": self.user_agent,
            "Connection": "Keep-Alive",
        }
        return {name: value for name, value in headers.items() if value}

    def _sign_in_again(self, refused: str) -> bool:
        """Whether there is a token by now that Rucio has not refused yet."""
        if self._tokens is None:
            super()._BaseClient__get_token()
        return self.auth_token not in {"", refused}

    def _refusal(self, token: str) -> Failure:
        return refusal(self._instance.display_name, self._instance.token, token)


def _parsed(lines: SpooledTemporaryFile[bytes]) -> Iterator[Any]:
    with lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                entry = parse_response(line)
            except ValueError as error:
                raise Failure("Rucio's answer broke off.", ADVICE["unreachable"], Code.UNREACHABLE) from error
            yield entry


def _credentials(auth_type: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """The proxy where grid tools look for it; rucio-clients fail with a KeyError where there is none.

    A Failure (REFUSED) for a sign-in by password: a server holds none.
    """
    if auth_type == "userpass":
        raise Failure(
            "This server signs in to Rucio with a password, which datalake does not have.",
            "Choose another sign-in with: datalake auth",
            Code.REFUSED,
        )
    if auth_type != "x509_proxy":
        return None
    usual = f"/tmp/x509up_u{os.geteuid()}"  # noqa: S108  the name that grid tools have agreed on
    return {"client_proxy": environ.get("RUCIO_CLIENT_PROXY") or environ.get("X509_USER_PROXY") or usual}


def _same_host(session: requests.Session) -> Any:
    original = session.rebuild_auth

    def rebuild_auth(request: requests.PreparedRequest, response: requests.Response) -> None:
        original(request, response)
        if urlsplit(str(request.url)).netloc != urlsplit(response.request.url).netloc:
            request.headers.pop("X-Rucio-Auth-Token", None)

    return rebuild_auth


def _never_sent(error: requests.ConnectionError) -> bool:
    """Refused, or no such host: nobody can have acted on the request."""
    return isinstance(getattr(next(iter(error.args), None), "reason", None), NewConnectionError)


def _broken(error: requests.ConnectionError) -> bool:
    """Ended in the middle, as when a server restarts; not a wrong certificate, and not a silence."""
    return not isinstance(error, requests.exceptions.SSLError | requests.Timeout | requests.exceptions.ProxyError)

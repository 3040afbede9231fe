"""Asking the hub: one request over HTTP/1.1, in a child, and what its status means."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from jupyterhub_dlaas.agent.child import Children
from jupyterhub_dlaas.agent.trouble import AgentError, one_line, reason

LARGEST_ANSWER_BYTES = 4 * 2**20
REQUEST_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 600.0


class Answer(NamedTuple):
    """An answer of the hub; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Hub:
    """The hub at `url` (as in `http://hub:8081/hub/`), asked with the agent's own token.

    Redirects are never followed, because the token would travel with them, and proxies of the environment are not used.
    """

    def __init__(self, url: str, token: str, children: Children, *, ca_file: str | None) -> None:
        self._scheme, self._host, self._port, self._path = split_url(url)
        self._token = token
        self._children = children
        self._ca_file = ca_file

    def bundle(self, etag: str | None, seconds: float = REQUEST_SECONDS) -> Answer:
        """The answer to `GET dlaas/bundle`: 200, or 304 where `etag` is still the newest. Raises AgentError."""
        answer = self._ask("GET", "dlaas/bundle", {"If-None-Match": etag} if etag else {}, seconds=seconds)
        if answer.status == 200 or (answer.status == 304 and etag):
            return answer
        raise refusal(answer)

    def report(self, content: Mapping[str, Any]) -> None:
        """`POST dlaas/report`. Raises AgentError."""
        body = json.dumps(content).encode()
        answer = self._ask("POST", "dlaas/report", {"Content-Type": "application/json"}, body)
        if not 200 <= answer.status < 300:
            raise refusal(answer)

    def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None = None,
        *,
        seconds: float = REQUEST_SECONDS,
    ) -> Answer:
        headers |= {"Authorization": f"token {self._token}", "Accept": "application/json", "Connection": "close"}

        def exchange() -> bytes:
            return self._exchange(method, self._path + path, headers, body, seconds)

        output = self._children.run({"hub": exchange}, seconds)["hub"]
        if output is None:
            raise AgentError(f"The hub gave no answer within {seconds:.3g} seconds.")
        head, _, rest = output.partition(b"\n")
        known = json.loads(head)
        if "error" in known:
            raise AgentError(known["error"])
        return Answer(known["status"], known["headers"], rest)

    def _exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None, seconds: float) -> bytes:
        """Runs in the child: http.client brings email and ssl along, 8 MB that the agent should not keep."""
        if self._scheme == "http":
            sys.modules["ssl"] = None  # type: ignore[assignment]  # it is half of what http.client costs to load
        import http.client

        connection = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        try:
            if self._scheme == "https":
                import ssl

                context = ssl.create_default_context(cafile=self._ca_file)
                connection = http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=context)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read(LARGEST_ANSWER_BYTES + 1)
            if len(data) > LARGEST_ANSWER_BYTES:
                return _error(f"The hub's answer is larger than {LARGEST_ANSWER_BYTES} bytes and was not used.")
            if response.length:  # read(amount) is silent about an answer that ends too early
                raise http.client.IncompleteRead(data)
            fields = {name.lower(): value for name, value in response.getheaders()}
            return json.dumps({"status": response.status, "headers": fields}).encode() + b"\n" + data
        except http.client.IncompleteRead:
            return _error("The hub's answer was cut off.")
        except http.client.HTTPException as error:
            return _error(f"The hub's answer is not HTTP ({type(error).__name__}).")
        except TimeoutError:
            return _error("The hub did not answer in time.")
        except OSError as error:
            if distrust := getattr(error, "verify_message", ""):  # ssl.SSLCertVerificationError
                return _error(f"The hub's certificate is not trusted ({distrust}); --ca-file names the CA.")
            return _error(f"The hub cannot be reached at {self._host}:{self._port}: {reason(error)}.")


def _error(sentence: str) -> bytes:
    return json.dumps({"error": one_line(sentence)}).encode() + b"\n"


def refusal(answer: Answer) -> AgentError:
    """The error that an answer other than the expected one means."""
    status = answer.status
    if status in (401, 403):
        return AgentError(
            f"The hub refuses this agent's credential ({status}): the server was stopped or started anew.",
            hopeless=True,
        )
    if 300 <= status < 400 and status != 304:
        return AgentError(
            f"The hub answered with a redirect ({status}), which is refused because it would carry the credential "
            "elsewhere. The hub URL of the agent has to be the final one.",
            hopeless=True,
        )
    wait = answer.headers.get("retry-after", "").strip()
    # A date instead of seconds is left aside: the clocks of the two machines need not agree.
    seconds = min(float(wait), LONGEST_RETRY_AFTER_SECONDS) if wait.isascii() and wait.isdigit() else None
    return AgentError(f"The hub answered with status {status}.", retry_after=seconds)


def split_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path (ending in a slash) of a hub URL; AgentError names what is wrong with it."""
    scheme, found, rest = url.partition("://")
    netloc, _, path = rest.partition("/")
    host, colon, port = netloc.rpartition(":") if not netloc.endswith("]") else (netloc, "", "")
    if not colon:
        host, port = netloc, {"http": "80", "https": "443"}.get(scheme, "")
    plain = url.isascii() and url.isprintable() and not set(url) & set(' @?#"\\')
    labels = host.strip("[]").split(".")
    if not (found and plain and port.isdigit() and int(port) < 65536 and all(0 < len(part) < 64 for part in labels)):
        raise AgentError(
            f"--hub-url {one_line(url.rpartition('@')[2])!r} is not a URL like http://host:port/hub/.", hopeless=True
        )
    return scheme, host.strip("[]"), int(port), "/" + path.rstrip("/") + ("/" if path.rstrip("/") else "")

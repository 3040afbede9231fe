"""What Rucio knows at one RSE: every path, or an error. Half an answer is none.

Rucio has no request for all replicas of an RSE, and the one for paths (`POST /replicas/dids`) works for RSEs with the
scheme srm alone. So every file DID is asked for: about 10,000 in a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from jupyterhub_dlaas.datalake.failure import failure_of, words_of
from jupyterhub_dlaas.errors import DLaaSError

_BATCH = 500
_SAMPLE = 1000
_QUICK_SECONDS = 3.0
# How far the clocks of Rucio and of this machine may differ.
_SKEW_SECONDS = 600


class NotAsked(DLaaSError):
    """Rucio could not be asked, or did not give a whole answer. Nothing may be removed."""


class Replicas:
    """The paths of one RSE below `rse_path`, a folder below the prefix of its protocols."""

    def __init__(self, rse: str, rse_path: str) -> None:
        self.rse = rse
        self._below = [part for part in rse_path.split("/") if part]
        with _asked():
            self._client = _client()
            about = self._client.get_rse(rse)
        self._prefixes = {tuple(_parts(protocol["prefix"])) for protocol in about["protocols"]}
        if not self._prefixes:
            raise NotAsked(f"The RSE {rse} has no protocol, so Rucio cannot say where its files are.")
        self._asked_at = 0.0
        self._took_seconds = 0.0
        self.elsewhere: list[bytes] = []
        """Some paths, below the RSE's prefix, that are not below `rse_path`."""

    def paths(self) -> Iterator[tuple[bytes, ...]]:
        """Every path, relative to `rse_path`: as Rucio has it and, where it has escapes, with those undone, too."""
        self._asked_at = time.time()
        yield from self._of([{"name": "*"}])
        self._took_seconds = time.time() - self._asked_at

    def newer_paths(self) -> Iterator[tuple[bytes, ...]]:
        """What came new since the last question: at least of DIDs that were made since, where it is quick of all."""
        if self._took_seconds < _QUICK_SECONDS:
            return self.paths()
        since = datetime.fromtimestamp(self._asked_at - _SKEW_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self._asked_at = time.time()
        return self._of([{"name": "*", "created_after": since}])

    def seconds_since_asked(self) -> float:
        """How old the last answer is."""
        return time.time() - self._asked_at

    def _of(self, filters: list[dict[str, str]]) -> Iterator[tuple[bytes, ...]]:
        with _asked():
            scopes = self._client.list_scopes()
            for scope in scopes:
                names = iter(self._client.list_dids(scope, [dict(each) for each in filters], did_type="file"))
                while batch := list(islice(names, _BATCH)):
                    yield from self._at_rse([{"scope": scope, "name": name} for name in batch])

    def _at_rse(self, dids: list[dict[str, str]]) -> Iterator[tuple[bytes, ...]]:
        asked = {(did["scope"], did["name"]) for did in dids}
        answered = set()
        for replica in self._client.list_replicas(
            dids, rse_expression=self.rse, all_states=True, ignore_availability=True, domain="all"
        ):
            answered.add((replica["scope"], replica["name"]))
            pfns = replica["rses"].get(self.rse, [])
            if not pfns and self.rse in replica["states"]:
                raise NotAsked(f"Rucio does not say where {replica['scope']}:{replica['name']} is at {self.rse}.")
            for pfn in pfns:
                yield from self._relative(pfn)
        # Every file that there is has an answer, also one without a replica at the RSE.
        for scope, name in asked - answered:
            if self._exists(scope, name):
                raise NotAsked(f"Rucio gave half an answer: it says nothing of {scope}:{name}.")

    def _exists(self, scope: str, name: str) -> bool:
        from rucio.common.exception import DataIdentifierNotFound

        try:
            self._client.get_did(scope, name)
        except DataIdentifierNotFound:
            return False
        return True

    def _relative(self, pfn: str) -> Iterator[tuple[bytes, ...]]:
        parts = _parts(urlsplit(pfn).path)
        tails = [parts[len(prefix) :] for prefix in self._prefixes if tuple(parts[: len(prefix)]) == prefix]
        if not tails:
            raise NotAsked(f"{pfn} is not below a prefix of the protocols of {self.rse}.")
        names: list[bytes] = []
        for tail in tails:
            if tail[: len(self._below)] == self._below:
                path = "/".join(tail[len(self._below) :])
                names += [path.encode("utf-8", "surrogateescape"), unquote_to_bytes(path)]
        if names:
            yield tuple(dict.fromkeys(names))
        elif len(self.elsewhere) < _SAMPLE:
            self.elsewhere.append("/".join(tails[0]).encode("utf-8", "surrogateescape"))


@contextmanager
def _asked() -> Iterator[None]:
    """Whatever goes wrong with an answer ends the cleaning, with a sentence."""
    try:
        yield
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise NotAsked(f"Rucio's answer cannot be understood ({type(error).__name__}: {words_of(error)}).") from error
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        raise NotAsked(failure.sentence, hint="Nothing is removed until Rucio has given a whole answer.") from error


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _client() -> Any:
    """The operator's own client, by rucio.cfg in RUCIO_HOME; every answer has to be one whose end can be seen."""
    try:
        from rucio.client import Client
    except ImportError as error:
        raise NotAsked(
            f"Rucio's clients are not installed here ({error}).", hint="pip install 'jupyterhub-dlaas[datalake]'"
        ) from error

    class WholeAnswers(Client):  # type: ignore[misc]
        def _send_request(self, url: str, *args: Any, **kwargs: Any) -> Any:
            answer = super()._send_request(url, *args, **kwargs)
            if answer.status_code == 200 and "/auth/" not in url:
                _refuse_without_end(url, answer.headers)
            return answer

    return WholeAnswers()


def _refuse_without_end(url: str, headers: Any) -> None:
    """Where neither a length nor chunks tell the end, an answer that was cut off looks like a whole one.

    The client takes lists of this one type apart, and any other for a single text.
    """
    where = url.partition("?")[0]
    if "chunked" not in headers.get("Transfer-Encoding", "").lower() and "Content-Length" not in headers:
        raise NotAsked(f"The answer of {where} does not tell its end: a part of it might be missing.")
    kind = headers.get("Content-Type", "")
    if kind not in {"application/x-json-stream", "application/json"}:
        raise NotAsked(f"The answer of {where} is {kind or 'of no type'}, not Rucio's JSON.")

"""ESAP's shopping basket over HTTP: `GET <url>/esap-api/accounts/user-profiles/`, paged as Django REST does.

The token goes to the basket's own origin and nowhere else: a redirect or a next page elsewhere is not followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import requests

from jupyterhub_dlaas.datalake.advice import ADVICE
from jupyterhub_dlaas.datalake.basket.items import Item, item_of
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of
from jupyterhub_dlaas.datalake.lake import Basket
from jupyterhub_dlaas.datalake.token_file import TokenFile, refusal

PROFILES = "esap-api/accounts/user-profiles/"
_SECONDS = (10, 60)  # to connect, and of silence
_PAGE_BYTES = 32 * 2**20
_PAGES = 1000
_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_OPERATOR = "Tell the basket's operators, and give them this sentence."


def items(basket: Basket, *, user: str, seconds: tuple[float, float] = _SECONDS) -> Iterator[Item]:
    """Everything in the user's basket. `user` is told to a basket that takes no token. Raises Failure."""
    url = urljoin(basket.url.rstrip("/") + "/", PROFILES)
    if basket.token is None:  # ESAP's first versions
        url += "?" + urlencode({"user_name": user})
    seen: set[str] = set()
    with requests.Session() as session:
        while True:
            if url in seen or len(seen) >= _PAGES:
                raise Failure(f"{basket.display_name} has pages without end.", _OPERATOR)
            seen.add(url)
            page = _page(session, basket, url, seconds)
            for profile in page["results"]:
                yield from map(item_of, profile.get("shopping_cart") or ())
            if not page.get("next"):
                return
            url = next_url(basket.url, _joined(url, page["next"]))


def next_url(base: str, url: str) -> str:
    """`url`, where it is at the origin of `base`; else a Failure.

    Behind a proxy that ends TLS a service often believes that it is asked by http: such a URL is brought to https.
    """
    here = urlsplit(base)
    try:
        there = urlsplit(url)
        if _origin(here) == _origin(there):
            return url
        if (here.scheme, there.scheme, there.hostname) == ("https", "http", here.hostname) and there.port in (None, 80):
            return there._replace(scheme=here.scheme, netloc=here.netloc).geturl()
        where = f"{there.scheme}://{there.netloc}"
    except ValueError:  # a port or host that cannot be one
        where = "something that is no address"
    raise Failure(f"The basket at {here.hostname} sends on to {where}, which does not get your token.", _OPERATOR)


def _joined(url: str, reference: str) -> str:
    try:
        return urljoin(url, reference)
    except ValueError:
        return reference  # which next_url refuses


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)


class _Bearer(requests.auth.AuthBase):  # type: ignore[misc]
    """The token of the moment; with it requests looks for no password in ~/.netrc."""

    def __init__(self, path: Path | None) -> None:
        self._file = TokenFile(path) if path else None
        self.sent = ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self.sent = self._file.value() if self._file else ""
        if self.sent:
            request.headers["Authorization"] = f"Bearer {self.sent}"
        return request

    def has_newer(self) -> bool:
        """Whether the hub has renewed the token since it was sent."""
        return self._file is not None and self._file.value() not in ("", self.sent)


def _page(session: requests.Session, basket: Basket, url: str, seconds: tuple[float, float]) -> Mapping[str, Any]:
    bearer = _Bearer(basket.token)
    for _ in range(_REDIRECTS):
        try:
            with session.get(
                url,
                headers={"Accept": "application/json"},
                auth=bearer,
                timeout=seconds,
                allow_redirects=False,
                stream=True,
            ) as answer:
                if answer.is_redirect:
                    url = next_url(basket.url, _joined(url, answer.headers["Location"]))
                elif answer.status_code != 401 or not bearer.has_newer():
                    _check(basket, answer, bearer.sent)
                    return _parsed(basket, _body(basket, answer))
        except requests.RequestException as error:
            raise failure_of(error) or error from error
    raise Failure(f"{basket.display_name} redirects in a circle.", _OPERATOR)


def _check(basket: Basket, answer: requests.Response, token: str) -> None:
    status, name = answer.status_code, basket.display_name
    if status in (401, 403):
        failure = refusal(name, basket.token, token)
        if failure.advice == ADVICE["refused"]:  # which is about Rucio
            advice = "Log in to the portal once, so that it knows you, and try again."
            failure = Failure(f"{name} does not accept your sign-in (HTTP {status}).", advice, Code.REFUSED)
        raise failure
    if status == 404:
        raise Failure(f"There is no basket at {answer.url} (HTTP 404).", _OPERATOR, Code.NOT_FOUND)
    if status == 429 or status >= 500:
        raise Failure(f"{name} cannot answer now (HTTP {status}).", "Try again in some minutes.", Code.UNREACHABLE)
    if status != 200:
        raise Failure(f"{name} answers with HTTP {status}.", _OPERATOR)


def _body(basket: Basket, answer: requests.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_content(2**16):
        body += chunk
        if len(body) > _PAGE_BYTES:
            raise Failure(f"{basket.display_name} answers with more than {_PAGE_BYTES >> 20} MiB.", _OPERATOR)
    return bytes(body)


def _parsed(basket: Basket, body: bytes) -> Mapping[str, Any]:
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        page = None
    if not _is_page(page):
        raise Failure(f"{basket.display_name} answers with something that is not a basket.", _OPERATOR)
    return dict(page)


def _is_page(page: Any) -> bool:
    return (
        isinstance(page, Mapping)
        and isinstance(page.get("next"), str | None)
        and isinstance(page.get("results"), list)
        and all(
            isinstance(profile, Mapping) and isinstance(profile.get("shopping_cart"), list | None)
            for profile in page["results"]
        )
    )

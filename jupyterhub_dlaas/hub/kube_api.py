"""Kubernetes' API server as a peer that is slow, busy or away for a while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException

from jupyterhub_dlaas.hub.kube_events import one_line

NO_ANSWER = (TimeoutError, aiohttp.ClientError, OSError)
"""What a request ends with that reached nobody."""


class Passing(Exception):
    """The API server did not answer, or is too busy to: ask again later."""


class Unreachable(Exception):
    """There is no cluster, or none that answers."""


def is_passing(error: ApiException) -> bool:
    """Whether it is about the API server's own state: too many requests, or a failure of its own."""
    return error.status in (0, 408, 429) or (error.status or 0) >= 500


def said(error: ApiException) -> str:
    """What the API server said, on one line."""
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        message = f"{error.status} {error.reason}"
    return one_line(str(message))


async def patiently(request: Awaitable[bool]) -> bool:
    """For KubeSpawner's requests, which it repeats while they are False: a busy or absent API server is no failure."""
    try:
        return await request
    except ApiException as error:
        if is_passing(error):
            return False
        raise
    except NO_ANSWER:
        return False


async def answer(request: Awaitable[Any], seconds: float) -> dict[str, Any]:
    """The JSON that a request made with `_preload_content=False` is answered with.

    Raises Passing, and ApiException for everything that asking again does not change. kubernetes_asyncio itself would
    write the whole answer, which may hold a credential, to its debug log.
    """
    try:
        async with asyncio.timeout(seconds):
            response = await request
            body = await response.read()
    except NO_ANSWER as error:
        raise Passing(type(error).__name__) from None
    if 200 <= response.status <= 299:
        document: dict[str, Any] = json.loads(body)
        return document
    refusal = ApiException(status=response.status, reason=response.reason)
    refusal.body = body
    if is_passing(refusal):
        raise Passing(said(refusal))
    raise refusal

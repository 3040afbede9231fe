"""The hub's answer as values that are safe to write: everything is checked before the first file is touched."""

from __future__ import annotations

import binascii
import json
from typing import Any, NamedTuple

from jupyterhub_dlaas.agent.trouble import AgentError, one_line

VERSION = 1
OWN_PREFIX = ".dlaas-"  # files of the agent itself, which no bundle may name
DEFAULT_ASK_AGAIN_SECONDS = 45.0
_ASK_AGAIN_SECONDS = 0.01, 3600.0


class File(NamedTuple):
    """A file to have: `path` is relative with `/`; `mode` never wider than 0600; `once`: only where there is none."""

    root: str
    path: str
    mode: int
    content: bytes
    once: bool


class Mount(NamedTuple):
    """A mounted storage to look after; without a `required` one the server does not start."""

    name: str
    path: str
    required: bool


class Bundle(NamedTuple):
    """Version 1 of what the hub sends; `ready` is false while a required audience has no token."""

    ask_again_seconds: float
    ready: bool
    not_ready_because: str
    files: tuple[File, ...]
    mounts: tuple[Mount, ...]


def parse(body: bytes) -> Bundle:
    """The bundle of a 200 answer. One fault refuses all of it, in an AgentError: a hub that errs is not half right."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise AgentError("The hub's answer is not JSON.") from None
    if not isinstance(data, dict):
        raise AgentError("The hub's answer is not a JSON object.")
    if data.get("version") != VERSION:
        raise AgentError(
            f"The hub speaks version {one_line(repr(data.get('version')), 40)} of the bundle and this agent version "
            f"{VERSION}: hub and server need the same release of jupyterhub-dlaas.",
            hopeless=True,
        )
    try:
        files = tuple(_file(item) for item in data["files"])
        mounts = tuple(
            Mount(_text(item["name"]), _text(item["path"]), item.get("required") is True)
            for item in data.get("mounts", ())
        )
        bundle = Bundle(
            ask_again(data.get("ask_again_seconds")),
            data.get("ready") is True,
            one_line(_text(data.get("not_ready_because", ""))),
            files,
            mounts,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AgentError(f"The hub's bundle is malformed ({type(error).__name__}: {error}).") from None
    if len({(file.root, file.path) for file in files}) < len(files):
        raise AgentError("The hub's bundle names the same file twice.")
    return bundle


def ask_again(value: Any) -> float:
    """Seconds until the next question, from a number or a header; the default for what is none."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return DEFAULT_ASK_AGAIN_SECONDS
    low, high = _ASK_AGAIN_SECONDS
    return min(max(seconds, low), high) if seconds > 0 else DEFAULT_ASK_AGAIN_SECONDS


def _file(item: dict[str, Any]) -> File:
    root, path = item["root"], item["path"]
    if root not in ("files", "cache"):
        raise ValueError("root is neither files nor cache")
    if item["when"] not in ("always", "once"):
        raise ValueError("when is neither always nor once")
    parts = _text(path).split("/")
    if any(part in ("", ".", "..") or part.startswith(OWN_PREFIX) or not part.isprintable() for part in parts):
        raise ValueError(f"a path that may not be written: {one_line(path, 100)!r}")
    mode = int(_text(item["mode"]), 8) & 0o600
    if not mode & 0o400:
        raise ValueError(f"a mode without read permission for {path!r}")
    content = binascii.a2b_base64(_text(item["content"]), strict_mode=True)
    return File(root, path, mode, content, item["when"] == "once")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value

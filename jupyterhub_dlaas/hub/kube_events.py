"""What Kubernetes says about a starting pod, in words: pure, from its own JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jupyterhub_dlaas.hub.pod import AGENT, CREDENTIAL, NOTEBOOK
from jupyterhub_dlaas.oidc.redact import redact
from jupyterhub_dlaas.oidc.secret import Secret

_LONGEST = 300
_AGENT_SAYS = f"{AGENT}: "
_QUOTED = re.compile(r'"([^"]+)"')
_CONTAINER = re.compile(r"\{([^}]+)\}")
_PREEMPTION = re.compile(r"\s+(?:preemption|no new claims).*", re.DOTALL)

PERCENT = {"Scheduled": 35, "Pulling": 40, "Pulled": 55, "Started": 75}
"""How far the start is, by an event's reason."""


def in_words(event: Mapping[str, Any], storages: Mapping[str, str] | None = None) -> str | None:
    """The step that an event of the server's pod is, None where it says nothing to a user.

    `storages` has the catalogue's name of each volume. Reasons that are not known here pass as they are.
    """
    reason, message = event.get("reason") or "", one_line(event.get("message") or "")
    match reason:
        case "Created" | "SuccessfulAttachVolume" | "FailedPreStopHook":
            return None
        case "Scheduled":
            return "A node was found"
        case "FailedScheduling":
            return f"Waiting for a node: {_PREEMPTION.sub('', message)}"
        case "TriggeredScaleUp":
            return "Another node is being started, which takes some minutes"
        case "NotTriggerScaleUp":
            return f"No other node can be started for this: {message}"
        case "FailedMount" | "FailedAttachVolume":
            return _volume(message, storages or {})
        case "Pulling":
            return f"The image {_first_quoted(message)} is being pulled"
        case "Pulled":
            return None if "already present" in message else f"The image {_first_quoted(message)} is there"
        case "Started":
            return {AGENT: "The agent was started", NOTEBOOK: "The server was started"}.get(_container(event))
        case "Failed" if message.startswith("Failed to pull image"):
            return f"The image {_first_quoted(message)} cannot be pulled: {message.partition(': ')[2]}"
        case "Failed" if message in ("Error: ErrImagePull", "Error: ImagePullBackOff"):
            return None
        case "BackOff" if "pulling image" in message:
            return f"The image {_first_quoted(message)} cannot be pulled; another try follows"
        case "BackOff" | "FailedPostStartHook" if _container(event) == AGENT:
            return None  # what the agent itself says is shown
    return message or reason or None


def order(event: Mapping[str, Any]) -> str:
    """Sorts events by when they happened; both fields are ISO 8601 in UTC."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def lacking_volume(event: Mapping[str, Any]) -> str | None:
    """The volume whose folder is not on the node, if that is what the event says."""
    message = event.get("message") or ""
    if event.get("reason") != "FailedMount" or "hostPath type check failed" not in message:
        return None
    return _first_quoted(message)


def has_mounts(pod: Mapping[str, Any]) -> bool:
    """Whether its volumes were mounted: no container starts before."""
    status = pod.get("status") or {}
    both = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return any("waiting" not in (container.get("state") or {"waiting": None}) for container in both)


def why_failed(pod: Mapping[str, Any], hide: Iterable[Secret] = ()) -> str | None:
    """Why a pod whose notebook has not started never will, in a sentence; None while it may."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "The server's pod was deleted while it was starting. Try again."
    if status.get("phase") == "Failed":
        said = one_line(": ".join(part for part in (status.get("reason"), status.get("message")) if part))
        return f"Kubernetes ended the server's pod while it was starting. {said}".rstrip()
    if _has_begun(_status(status.get("containerStatuses"), NOTEBOOK)):
        return None
    agent = _status(status.get("initContainerStatuses"), AGENT)
    ended = (agent.get("state") or {}).get("terminated") or (agent.get("lastState") or {}).get("terminated")
    if ended is None:
        return None
    return agent_said(ended.get("message") or "", hide) or (
        f"The data lake's agent ended (exit code {ended.get('exitCode')}) before its first files were written; its "
        f"log may have why: kubectl logs {name} -c {AGENT} --previous"
    )


def agent_said(text: str, hide: Iterable[Secret] = ()) -> str | None:
    """The agent's own last sentence in the end of its container's log, without tokens; None if there is none."""
    lines = [line.removeprefix(_AGENT_SAYS) for line in text.splitlines() if line.startswith(_AGENT_SAYS)]
    return (redact(lines[-1], hide) or None) if lines else None


def one_line(text: str) -> str:
    """At most 300 printable characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _status(statuses: Any, name: str) -> Mapping[str, Any]:
    return next((status for status in statuses or () if status.get("name") == name), {})


def _has_begun(status: Mapping[str, Any]) -> bool:
    states = {**(status.get("lastState") or {}), **(status.get("state") or {})}
    return "running" in states or "terminated" in states


def _first_quoted(message: str) -> str:
    found = _QUOTED.search(message)
    return found[1] if found else ""


def _container(event: Mapping[str, Any]) -> str:
    found = _CONTAINER.search((event.get("involvedObject") or {}).get("fieldPath") or "")
    return found[1] if found else ""


def _volume(message: str, storages: Mapping[str, str]) -> str | None:
    name = _first_quoted(message)
    if name == CREDENTIAL:  # the Secret comes just after the pod
        return None
    if name in storages:
        return f"Waiting for {storages[name]}: {message.rpartition(' : ')[2]}"
    return f"Waiting for volumes: {message}"

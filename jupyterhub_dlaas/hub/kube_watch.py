"""A starting pod, watched: its events become the steps that the user sees, and its failure ends the start at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubernetes_asyncio.client import ApiException

from jupyterhub_dlaas.errors import BundleError
from jupyterhub_dlaas.hub import kube_events
from jupyterhub_dlaas.hub.kube_api import Passing
from jupyterhub_dlaas.hub.kube_pod import ServerPod
from jupyterhub_dlaas.hub.pod_storages import StorageParts
from jupyterhub_dlaas.hub.progress import Progress
from jupyterhub_dlaas.oidc.secret import Secret

_LOOK_SECONDS = 0.25
_LOOKS_PER_TELLING = 4
_MOUNT_SECONDS = 20.0  # a node that has just joined may be about to mount it

Objects = dict[str, dict[str, Any]]


class StartWatch:
    """`pods` and `events` are what KubeSpawner knows now, by namespace and name; `hide` is never shown."""

    mount_seconds = _MOUNT_SECONDS

    def __init__(
        self,
        pod: ServerPod,
        steps: Progress,
        *,
        pods: Callable[[], Objects],
        events: Callable[[], Objects],
        storages: Callable[[], StorageParts],
        hide: Iterable[Secret],
    ) -> None:
        self._pod, self._steps, self._hide = pod, steps, list(hide)
        self._pods, self._events, self._storages = pods, events, storages
        self._known = events()  # before the pod is there, so none of them is about it
        self._newest = next(reversed(self._known), None)
        self._lacking: dict[str, float] = {}

    async def until_up(self, is_up: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Tells the steps; returns the pod when it is up. Raises BundleError when that cannot be any more."""
        known: dict[str, Any] | None = None
        look = 0
        while True:
            if look % _LOOKS_PER_TELLING == 0:
                self.tell()
            seen = self._own()
            if seen is not None:
                # KubeSpawner's watch brings a new one for each change.
                if seen is not known and (why := kube_events.why_failed(seen, self._hide)):
                    raise BundleError(why)
                known = seen
                if self._lacking:
                    self._need_mounts(seen)
                if is_up(seen):
                    return seen
            elif known is not None and await self._is_gone():
                raise BundleError("The server's pod was deleted while it was starting.", hint="Try again.")
            await asyncio.sleep(_LOOK_SECONDS)
            look += 1

    def tell(self) -> None:
        """Adds to the steps what Kubernetes has said since the last look."""
        if self._pod.uid is None:
            return
        mine = [event for event in self._new_events() if event["involvedObject"].get("uid") == self._pod.uid]
        storages = self._storages()
        for event in sorted(mine, key=kube_events.order):
            sentence = kube_events.in_words(event, storages.names)
            if sentence and all(step["message"] != sentence for step in self._steps.events):
                self._steps.add(sentence, kube_events.PERCENT.get(event.get("reason") or ""))
            if (volume := kube_events.lacking_volume(event)) in storages.required:
                self._lacking.setdefault(str(volume), time.monotonic())

    def _new_events(self) -> list[dict[str, Any]]:
        """Those since the look before, which are the last; all, where KubeSpawner has asked for all again.

        A busy hub has thousands. One that has happened again keeps its place and says the same.
        """
        events = self._events()
        seen = self._newest if events is self._known else None
        new: list[dict[str, Any]] = []
        for key in reversed(events):
            if key == seen:
                break
            new.append(events[key])
        self._known, self._newest = events, next(reversed(events), None)
        return new[::-1]

    def _need_mounts(self, pod: Mapping[str, Any]) -> None:
        """Raises BundleError for a required mount that has not come for a while."""
        if kube_events.has_mounts(pod):
            self._lacking.clear()
        for volume, since in self._lacking.items():
            if time.monotonic() - since > self.mount_seconds:
                raise BundleError(
                    f"{self._storages().names[volume]} is not there on the node, and this environment needs it.",
                    hint="Ask the administrators of this hub about it.",
                )

    def _own(self) -> dict[str, Any] | None:
        seen = self._pods().get(f"{self._pod.namespace}/{self._pod.name}")
        return seen if seen is not None and seen["metadata"]["uid"] == self._pod.uid else None

    async def _is_gone(self) -> bool:
        """Asks: a watch that begins anew may not know the newest pods for a moment."""
        try:
            return await self._pod.find() is None
        except (Passing, ApiException):
            return False

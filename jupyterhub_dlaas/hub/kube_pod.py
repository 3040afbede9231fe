"""The pod of one start in the cluster: found, given its credential, and removed whatever the API server does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from kubernetes_asyncio.client import ApiException

from jupyterhub_dlaas.errors import BundleError
from jupyterhub_dlaas.hub.kube_access import rule_sentence
from jupyterhub_dlaas.hub.kube_api import Passing, answer, said
from jupyterhub_dlaas.hub.pod import CREDENTIAL

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_GIVE_UP_SECONDS = 6 * 3600.0


class ServerPod:
    """Known by the Secret that it mounts, which each start names anew: no other pod of its name is taken for it.

    `api` is a CoreV1Api, `seconds` is how long one request may take.
    """

    def __init__(self, api: Any, namespace: str, name: str, secret_name: str, seconds: float) -> None:
        self.api, self.namespace, self.name, self.secret_name = api, namespace, name, secret_name
        self.uid: str | None = None
        self.has_credential = False
        self._seconds = seconds

    async def create(self, manifest: Any, seconds: float) -> bool:
        """Creates it; False when another pod has its name. Raises Passing or ApiException."""
        # Not read into kubernetes_asyncio's models, which takes longer than everything else in a start.
        request = self.api.create_namespaced_pod(self.namespace, manifest, _preload_content=False)
        try:
            self.uid = (await answer(request, seconds))["metadata"]["uid"]
        except ApiException as error:
            if error.status != 409:
                raise
            return await self.find() is not None  # this one, where an answer was lost
        return True

    async def find(self) -> str | None:
        """The pod's uid; None if it is not there. Raises Passing or ApiException."""
        try:
            pod = await answer(
                self.api.read_namespaced_pod(self.name, self.namespace, _preload_content=False), self._seconds
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        for volume in pod["spec"].get("volumes") or ():
            if volume["name"] == CREDENTIAL and volume.get("secret", {}).get("secretName") == self.secret_name:
                self.uid = pod["metadata"]["uid"]
                return self.uid
        return None

    async def give(self, secret: dict[str, Any], within: float) -> None:
        """Creates the Secret. Raises BundleError, with the rule that the hub lacks where it lacks one."""

        async def create() -> None:
            request = self.api.create_namespaced_secret(self.namespace, secret, _preload_content=False)
            try:
                await answer(request, self._seconds)
            except ApiException as error:
                if error.status != 409:  # an answer that was lost: the name is nobody else's
                    raise

        await self._insist(create, within, ("create", "secrets"))
        self.has_credential = True

    async def delete(self) -> bool:
        """Deletes the pod at once, and so its Secret; False if it was not there. Raises Passing or ApiException."""
        uid = await self.find()
        if uid is None:
            return False
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        request = self.api.delete_namespaced_pod(self.name, self.namespace, body=options, _preload_content=False)
        try:
            await answer(request, self._seconds)
        except ApiException as error:
            if error.status not in (404, 409):  # 409: another pod has the name now
                raise
        return True

    async def delete_in_the_end(self) -> None:
        """Tries for hours until it is gone; whatever the API server says is logged, not raised."""
        pause, waited = _FIRST_PAUSE_SECONDS, 0.0
        while True:
            try:
                await self.delete()
            except (Passing, ApiException) as error:
                problem = said(error) if isinstance(error, ApiException) else str(error)
                log.warning("pod %s/%s cannot be deleted yet: %s", self.namespace, self.name, problem)
            else:
                return
            if waited >= _GIVE_UP_SECONDS:
                log.error("pod %s/%s is left to whoever looks after the cluster", self.namespace, self.name)
                return
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(_LONGEST_PAUSE_SECONDS, 2 * pause)

    async def _insist(self, request: Any, within: float, right: tuple[str, str]) -> Any:
        pause = _FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            try:
                return await request()
            except Passing as error:
                if loop.time() + pause > deadline:
                    raise BundleError(
                        f"Kubernetes did not answer for {within:.0f} seconds ({error}).", hint="Try again in a minute."
                    ) from None
            except ApiException as error:
                if error.status == 403:
                    verb, resource = right
                    sentence = f"{rule_sentence(resource, (verb,), self.namespace)} Kubernetes says: {said(error)}"
                    raise BundleError(sentence) from None
                raise BundleError(f"The agent's credential cannot be handed over: {said(error)}") from None
            await asyncio.sleep(pause)
            pause = min(2.0, 2 * pause)

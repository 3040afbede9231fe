"""KubeSpawner for an API server that is busy, or away for a minute: nothing is given up, forgotten or left behind."""

from __future__ import annotations

from typing import Any

from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner

from jupyterhub_dlaas.hub.kube_api import NO_ANSWER, Passing, answer, patiently


class PatientKubeSpawner(KubeSpawner):
    """KubeSpawner itself repeats a request only if it timed out, and stops watching after an outage of a minute."""

    async def _make_create_pvc_request(self, pvc: Any, request_timeout: float) -> bool:
        return await patiently(super()._make_create_pvc_request(pvc, request_timeout))

    async def _make_delete_pod_request(
        self, pod_name: str, delete_options: Any, grace_seconds: int, request_timeout: float
    ) -> bool:
        request = self.api.delete_namespaced_pod(
            pod_name, self.namespace, body=delete_options, grace_period_seconds=grace_seconds, _preload_content=False
        )
        try:
            await answer(request, request_timeout)
        except Passing:
            return False
        except ApiException as error:
            if error.status != 404:
                raise
        return True

    async def _start_reflector(self, kind: str, reflector_class: Any, replace: bool = False, **kwargs: Any) -> Any:
        """As KubeSpawner's, but a watch that has given up is begun anew, and one that could not begin is not kept.

        An empty list of pods that nobody updates would make every running server look as if it had ended.
        """
        reflectors, key = type(self).reflectors, self._get_reflector_key(kind)
        before = reflectors.get(key)
        has_ended = before is not None and before.watch_task is not None and before.watch_task.done()
        try:
            return await super()._start_reflector(kind, reflector_class, replace=replace or has_ended, **kwargs)
        except Exception:
            broken = reflectors.get(key)
            if broken is not None and broken.watch_task is None:
                if broken.first_load_future.done():
                    broken.first_load_future.exception()  # asyncio would report that nobody looked at it
                del reflectors[key]
                if before is not None and before is not broken:
                    reflectors[key] = before
            if has_ended:
                self.log.warning("Kubernetes' %s cannot be watched again yet; going by what was last known", kind)
                return before
            raise

    async def poll(self) -> int | None:
        """As KubeSpawner's; a pod that Kubernetes ended (evicted, for one) goes, and what belongs to it.

        As long as a hub that has just started cannot learn which pods there are, no server has ended: JupyterHub stops
        those whose `poll` fails. It looks then whether the server itself answers.
        """
        try:
            await self._start_watching_pods()
        except (ApiException, *NO_ANSWER):  # which KubeSpawner has logged
            return None
        status: int | None = await super().poll()
        pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        if status is not None and pod is not None and self.delete_stopped_pods:
            ended = pod["status"].get("phase") in ("Failed", "Succeeded")
            if ended and not pod["metadata"].get("deletionTimestamp"):
                await self.stop(now=True)
        return status

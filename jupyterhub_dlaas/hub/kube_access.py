"""Whether a cluster is new enough, and whether the hub may do in it what it has to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Sequence
from typing import Any

from kubernetes_asyncio.client import ApiException, AuthorizationV1Api, VersionApi
from kubernetes_asyncio.config import ConfigException
from kubespawner.clients import load_config, shared_client

from jupyterhub_dlaas.hub.kube_api import Passing, Unreachable, answer, said

log = logging.getLogger(__name__)

OLDEST = (1, 29)
"""The first Kubernetes that starts sidecar containers by itself; an older one would wait for the agent to end."""

_REQUEST_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 30.0

Needs = Sequence[tuple[str, tuple[str, ...]]]


def needs(settings: Any) -> list[tuple[str, tuple[str, ...]]]:
    """Resources and verbs that a spawner with these settings uses."""
    wanted: list[tuple[str, tuple[str, ...]]] = [
        ("pods", ("get", "list", "watch", "create", "delete")),
        ("secrets", ("create",)),
    ]
    if settings.events_enabled:
        wanted.append(("events", ("list", "watch")))
    if settings.storage_pvc_ensure:
        wanted.append(("persistentvolumeclaims", ("get", "create")))
    if settings.services_enabled:
        wanted.append(("services", ("get", "create", "delete")))
    if settings.enable_user_namespaces:
        wanted.append(("namespaces", ("create",)))
    return wanted


def rule_sentence(resource: str, verbs: Sequence[str], namespace: str) -> str:
    """What is missing, and the rule to add. `namespace` is empty for all of them."""
    where = f"the namespace {namespace}" if namespace else "every namespace"
    role = f"a Role in {namespace}" if namespace else "a ClusterRole"
    quoted = ", ".join(f'"{verb}"' for verb in verbs)
    return (
        f"The hub may not {_listed(verbs)} {resource} in {where}. Bind its service account to {role} with the rule "
        f'- {{apiGroups: [""], resources: ["{resource}"], verbs: [{quoted}]}}.'
    )


async def missing(api: Any, namespace: str, wanted: Needs) -> list[str]:
    """Sentences about everything that is missing. Raises Passing when the API server does not answer."""
    problems = [problem] if (problem := await _too_old(api)) else []
    asked = [(resource, verb) for resource, verbs in wanted for verb in verbs]
    allowed = await asyncio.gather(*(_may(api, namespace, resource, verb) for resource, verb in asked))
    lacking: dict[str, list[str]] = {}
    for (resource, verb), may in zip(asked, allowed, strict=True):
        if not may:
            lacking.setdefault(resource, []).append(verb)
    return [*problems, *(rule_sentence(resource, verbs, namespace) for resource, verbs in lacking.items())]


async def lacking(settings: Any) -> list[str]:
    """What is missing for these settings. Raises Unreachable where no cluster is configured, or it does not answer."""
    try:
        cluster = Cluster.of(settings)
        await cluster.ask()
    except (Passing, ConfigException) as error:
        raise Unreachable(str(error)) from None
    return cluster.problems


class Cluster:
    """What is known about the hub's rights: asked when the hub starts and, while one is missing, at each start."""

    def __init__(self, api: Any, namespace: str, wanted: Needs) -> None:
        self.problems: list[str] = []
        self._api, self._namespace, self._wanted = api, namespace, wanted

    @classmethod
    def of(cls, settings: Any) -> Cluster:
        """The one these settings of a spawner are for. Raises kubernetes_asyncio's ConfigException if there is none."""
        load_config(
            host=settings.k8s_api_host,
            ssl_ca_cert=settings.k8s_api_ssl_ca_cert,
            verify_ssl=settings.k8s_api_verify_ssl,
        )
        namespace = "" if settings.enable_user_namespaces else settings.namespace
        return cls(shared_client("CoreV1Api").api_client, namespace, needs(settings))

    async def ask(self) -> None:
        """Asks now. Raises Passing."""
        self.problems = await missing(self._api, self._namespace, self._wanted)

    async def ask_until_answered(self) -> None:
        """Asks until the API server answers, and logs what is missing."""
        while True:
            try:
                await self.ask()
            except Passing as error:
                log.warning("Kubernetes does not answer (%s); the hub's rights in it are not known yet", error)
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
            else:
                break
        for problem in self.problems:
            log.error("No server can start: %s", problem)

    async def ask_again(self) -> list[str]:
        """What is still missing; only asks where something was."""
        if self.problems:
            with contextlib.suppress(Passing):  # what was missing a while ago is the best that is known
                await self.ask()
        return self.problems


async def _too_old(api: Any) -> str | None:
    version = await answer(VersionApi(api).get_code(_preload_content=False), _REQUEST_SECONDS)
    numbers = [re.match(r"[0-9]*", str(version.get(part) or ""))[0] for part in ("major", "minor")]  # type: ignore[index]
    if not all(numbers) or (int(numbers[0]), int(numbers[1])) >= OLDEST:
        return None
    oldest = ".".join(map(str, OLDEST))
    return (
        f"The cluster runs Kubernetes {numbers[0]}.{numbers[1]}, which cannot run an agent beside a server. "
        f"Kubernetes {oldest} or later can."
    )


async def _may(api: Any, namespace: str, resource: str, verb: str) -> bool:
    attributes = {"resource": resource, "verb": verb}
    if namespace and resource != "namespaces":
        attributes["namespace"] = namespace
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    review_api: Any = AuthorizationV1Api(api)
    body = {**review, "spec": {"resourceAttributes": attributes}}
    request = review_api.create_self_subject_access_review(body, _preload_content=False)
    try:
        status = (await answer(request, _REQUEST_SECONDS)).get("status") or {}
    except ApiException as error:
        log.warning("Kubernetes does not say whether the hub may %s %s: %s", verb, resource, said(error))
        return True  # the start will tell
    return bool(status.get("allowed"))


def _listed(words: Sequence[str]) -> str:
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]

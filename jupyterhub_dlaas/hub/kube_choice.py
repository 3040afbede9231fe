"""What a choice of the catalogue asks of Kubernetes, as settings of KubeSpawner: pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyterhub_dlaas.catalogue.demands import Resources, Toleration
from jupyterhub_dlaas.catalogue.offer import Choice


def overrides(choice: Choice, own: Any, *, gpu_resource: str) -> dict[str, Any]:
    """New values of KubeSpawner's traits for one start. `own` has the hub's, which stay where the choice is silent."""
    environment = choice.offer.environment
    values: dict[str, Any] = {"image": environment.image}
    if environment.image_pull_policy:
        values["image_pull_policy"] = environment.image_pull_policy
    if environment.image_pull_secrets:
        values["image_pull_secrets"] = _with_secrets(own.image_pull_secrets, environment.image_pull_secrets)
    if environment.node_selector:
        values["node_selector"] = {**own.node_selector, **environment.node_selector}
    if environment.tolerations:
        values["tolerations"] = [*_as_list(own.tolerations), *map(_toleration, environment.tolerations)]
    if environment.priority_class:
        values["priority_class_name"] = environment.priority_class
    if choice.resources is not None:
        values.update(_sizes(choice.resources, own, gpu_resource))
    return values


def _sizes(size: Resources, own: Any, gpu_resource: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    guarantees = dict(own.extra_resource_guarantees)
    for ours, kube, name in ((size.cpu, "cpu", "cpu"), (size.memory, "mem", "memory")):
        limit = ours if ours is not None else getattr(own, f"{kube}_limit")
        guaranteed = getattr(size.guarantee, name)
        if guaranteed is None:
            guaranteed = getattr(own, f"{kube}_guarantee")
            if limit and guaranteed:
                guaranteed = min(limit, guaranteed)
        elif limit and limit < guaranteed:
            limit = guaranteed  # the hub's own limit, which the size does not set
        values[f"{kube}_limit"], values[f"{kube}_guarantee"] = limit, guaranteed
        if limit and not guaranteed:
            # Where nothing is requested, Kubernetes requests the whole limit.
            guarantees.setdefault(name, "0")
    if size.gpu:
        values["extra_resource_limits"] = {**own.extra_resource_limits, gpu_resource: str(size.gpu)}
        guarantees[gpu_resource] = str(size.gpu)  # has to be the same
    values["extra_resource_guarantees"] = guarantees
    return values


def _with_secrets(own: Any, more: Iterable[str]) -> list[Any]:
    known = [own] if isinstance(own, str) and own else list(own or ())
    names = {entry if isinstance(entry, str) else entry.get("name") for entry in known}
    return [*known, *(name for name in more if name not in names)]


def _as_list(entries: Any) -> list[Any]:
    """KubeSpawner takes lists also as dictionaries, sorted by their keys."""
    return [entries[key] for key in sorted(entries)] if isinstance(entries, dict) else list(entries or ())


def _toleration(toleration: Toleration) -> dict[str, str]:
    return {key: str(value) for key, value in toleration.model_dump(mode="json").items() if value}

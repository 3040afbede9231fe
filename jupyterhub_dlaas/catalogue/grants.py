"""What the hub's administrator lets a VO's catalogue use; anything beyond it closes the VO."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jupyterhub_dlaas.catalogue.consistency import Finding
from jupyterhub_dlaas.catalogue.demands import Resources
from jupyterhub_dlaas.catalogue.document import field_name
from jupyterhub_dlaas.catalogue.fields import (
    AbsolutePath,
    Bytes,
    Cores,
    GrantedLabel,
    GrantedTaint,
    GroupName,
    ObjectName,
    image,
    split_url,
)
from jupyterhub_dlaas.catalogue.models import Catalogue, Environment, Storage, VolumeStorage
from jupyterhub_dlaas.errors import ConfigError, Problem


class MaxResources(BaseModel):
    """The largest server; what is not named may not be asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: Cores | None = None
    memory: Bytes | None = None
    gpu: int = 0


class Grant(BaseModel):
    """One value of `DLaaSConfig.vos`. Nothing is granted unless it is named; a `trusted` VO may use everything.

    `images` are patterns: `*` and `?` stand for characters of one path component, a pattern without tag for every tag
    and digest; one with a tag and no `*` for that tag alone, not for a digest behind it.
    `hosts` are host names, with `:port` for one port only. `volumes` are claims, `nfs:server:/path` or
    `csi:driver?key=value`. `host_paths` are granted as they are and not what lies below them, where a user may have put
    a link to anywhere on the node.
    `node_labels` are `key=value`, or `key=*` for every value; `tolerations` are `key=value`, or `key` for every value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: frozenset[GroupName] = frozenset()
    audiences: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    host_paths: tuple[AbsolutePath, ...] = ()
    volumes: tuple[str, ...] = ()
    node_labels: tuple[GrantedLabel, ...] = ()
    tolerations: tuple[GrantedTaint, ...] = ()
    priority_classes: tuple[ObjectName, ...] = ()
    pull_secrets: tuple[ObjectName, ...] = ()
    max_resources: MaxResources = Field(default_factory=MaxResources)
    trusted: bool = False


def parse_grants(vos: Mapping[str, Any]) -> dict[str, Grant]:
    """`DLaaSConfig.vos` checked; ConfigError that names the entry and field."""
    grants: dict[str, Grant] = {}
    for name, settings in vos.items():
        try:
            grants[name] = settings if isinstance(settings, Grant) else Grant.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            place = "".join(f"[{part!r}]" for part in (name, *first["loc"]))
            known = f" Known are {', '.join(Grant.model_fields)}." if first["type"] == "extra_forbidden" else ""
            why = str(first.get("ctx", {}).get("error", first["msg"])).rstrip(".")
            why = "there is no such field" if known else why
            raise ConfigError(f"c.DLaaSConfig.vos{place} cannot be used: {why}.", hint=known.strip()) from error
    return grants


def exceeds(catalogue: Catalogue, grant: Grant) -> list[Problem]:
    """Everything in the catalogue that its VO was not granted."""
    return [Problem(message, field_name(path)) for path, message in beyond(catalogue, grant)]


def beyond(catalogue: Catalogue, grant: Grant) -> Iterator[Finding]:
    """Like `exceeds`, as paths into the catalogue."""
    if grant.trusted:
        return
    for name, instance in catalogue.rucio_instances.items():
        if instance.audience not in grant.audiences:
            yield ("rucio_instances", name, "audience"), _not_granted(catalogue, "audience", instance.audience)
        for field in ("rucio_host", "auth_host", "rucio_webui_url"):
            url = getattr(instance, field)
            if url is not None and not _host_granted(url, grant):
                yield ("rucio_instances", name, field), _not_granted(catalogue, "host", url)
        for pattern, access in instance.rses.items():
            if access.audience not in grant.audiences:
                at = ("rucio_instances", name, "rses", pattern, "audience")
                yield at, _not_granted(catalogue, "audience", access.audience)
    for name, basket in catalogue.baskets.items():
        if basket.audience is not None and basket.audience not in grant.audiences:
            yield ("baskets", name, "audience"), _not_granted(catalogue, "audience", basket.audience)
        if not _host_granted(basket.url, grant):
            yield ("baskets", name, "url"), _not_granted(catalogue, "host", basket.url)
    for name, storage in catalogue.storages.items():
        yield from _storage(catalogue, name, storage, grant)
    for index, environment in enumerate(catalogue.environments):
        if not image_granted(environment.image, grant.images):
            yield ("environments", index, "image"), _not_granted(catalogue, "image", environment.image)
        for size, resources in environment.resources.items():
            for part, message in _resources(resources, grant.max_resources):
                yield ("environments", index, "resources", size, *part), message
        for path, message in _placement(catalogue, environment, grant):
            yield ("environments", index, *path), message


def image_granted(reference: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern grants the image: compared whole, component by component, as the runtime would pull it."""
    full = image(reference)
    # With a digest the runtime ignores the tag: a pattern for one tag does not grant any digest put behind it.
    forms = {full.name, str(full)}
    return any(_matches(form, _docker_hub(pattern)) for pattern in patterns for form in forms)


def _matches(form: str, pattern: str) -> bool:
    parts, globs = form.split("/"), pattern.split("/")
    return len(parts) == len(globs) and all(map(fnmatch.fnmatchcase, parts, globs))


def _docker_hub(pattern: str) -> str:
    """A pattern in the full form in which images are compared (`jupyter/*` is `docker.io/jupyter/*`)."""
    first, slash, _ = pattern.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return pattern
    return f"docker.io/{pattern}" if slash else f"docker.io/library/{pattern}"


def _host_granted(url: str, grant: Grant) -> bool:
    parts = split_url(url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    granted = {entry.lower().rstrip(".") for entry in grant.hosts}
    return host in granted or f"{host}:{port}" in granted


def _storage(catalogue: Catalogue, name: str, storage: Storage, grant: Grant) -> Iterator[Finding]:
    audience = getattr(storage, "audience", None)
    if audience is not None and audience not in grant.audiences:
        yield ("storages", name, "audience"), _not_granted(catalogue, "audience", audience)
    if isinstance(storage, VolumeStorage):
        if storage.reference not in grant.volumes:
            yield ("storages", name), _not_granted(catalogue, "volume", storage.reference)
    elif storage.host_path not in grant.host_paths:
        yield ("storages", name, "host_path"), _not_granted(catalogue, "host path", storage.host_path)


def _placement(catalogue: Catalogue, environment: Environment, grant: Grant) -> Iterator[Finding]:
    for key, value in environment.node_selector.items():
        if not {f"{key}={value}", f"{key}=*"} & set(grant.node_labels):
            yield ("node_selector", key), _not_granted(catalogue, "node label", f"{key}={value}")
    for index, toleration in enumerate(environment.tolerations):
        if toleration.key is None:
            yield ("tolerations", index), "a toleration without a key is for every taint: only a trusted VO may have it"
        elif not {toleration.key, toleration.taint} & set(grant.tolerations):
            yield ("tolerations", index), _not_granted(catalogue, "toleration", toleration.taint)
    if environment.priority_class is not None and environment.priority_class not in grant.priority_classes:
        yield ("priority_class",), _not_granted(catalogue, "priority class", environment.priority_class)
    for index, secret in enumerate(environment.image_pull_secrets):
        if secret not in grant.pull_secrets:
            yield ("image_pull_secrets", index), _not_granted(catalogue, "pull secret", secret)


def _resources(resources: Resources, most: MaxResources) -> Iterator[tuple[tuple[str, ...], str]]:
    asked: list[tuple[tuple[str, ...], float | None, float | None]] = [
        (("cpu",), resources.cpu, most.cpu),
        (("memory",), resources.memory, most.memory),
        (("gpu",), resources.gpu, most.gpu),
        (("guarantee", "cpu"), resources.guarantee.cpu, most.cpu),
        (("guarantee", "memory"), resources.guarantee.memory, most.memory),
    ]
    for field, value, limit in asked:
        if value and (limit is None or value > limit):
            granted = (
                "max_resources names no such limit" if limit is None else f"the most is {_amount(field[-1], limit)}"
            )
            yield field, f"{_amount(field[-1], value)} is more than the hub grants this VO: {granted}"


def _amount(field: str, value: float) -> str:
    return f"{value / 2**30:g}G" if field == "memory" else f"{value:g}"


def _not_granted(catalogue: Catalogue, kind: str, value: str) -> str:
    setting = {"priority class": "priority_classes"}.get(kind, kind.replace(" ", "_") + "s")
    return f"the {kind} {value} is not granted to this VO (c.DLaaSConfig.vos[{catalogue.vo!r}][{setting!r}])"

"""What concerns several entries of a catalogue: references, one EOS token per environment, colliding mounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from jupyterhub_dlaas.catalogue.fields import is_within

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.models import Basket, Environment, RucioInstance, Storage

Path: TypeAlias = tuple[str | int, ...]
Finding: TypeAlias = tuple[Path, str]


def inconsistencies(
    rucio: Mapping[str, RucioInstance | None],
    storages: Mapping[str, Storage | None],
    baskets: Mapping[str, Basket | None],
    environments: Sequence[Environment | None],
) -> list[Finding]:
    """All contradictions, each with the path of the field to mend. `None` is an entry that is declared but broken."""
    return [
        *_instances(rucio, storages),
        *(
            found
            for index, env in enumerate(environments)
            if env
            for found in _environment(index, env, rucio, storages, baskets)
        ),
        *_twice(environments),
    ]


def _instances(rucio: Mapping[str, RucioInstance | None], storages: Mapping[str, Storage | None]) -> Iterator[Finding]:
    for name, instance in rucio.items():
        if instance and instance.storage is not None and instance.storage not in storages:
            yield ("rucio_instances", name, "storage"), _unknown("storage", instance.storage, storages)
        patterns = list(instance.rses) if instance else []
        for position, pattern in enumerate(patterns):
            for before in patterns[:position]:
                if _covers(before, pattern):
                    yield ("rucio_instances", name, "rses", pattern), f"is never used: {before} stands before it"
                    break


def _covers(pattern: str, other: str) -> bool:
    """Whether every name that fits `other` surely fits `pattern`: one `*` may stand for another, a `?` not for it."""
    return fnmatchcase(other, pattern) and not ("?" in pattern and "*" in other)


def _environment(
    index: int,
    env: Environment,
    rucio: Mapping[str, RucioInstance | None],
    storages: Mapping[str, Storage | None],
    baskets: Mapping[str, Basket | None],
) -> Iterator[Finding]:
    here: Path = ("environments", index)
    for field, kind, names, known in (
        ("rucio", "Rucio instance", env.rucio, rucio),
        ("storages", "storage", env.storages, storages),
        ("baskets", "basket", env.baskets, baskets),
    ):
        for position, name in enumerate(names):
            if name not in known:
                yield (*here, field, position), _unknown(kind, name, known)
            elif name in names[:position]:
                yield (*here, field, position), f"names {name} twice"
    if len(set(env.auth_types)) < len(env.auth_types):
        yield (*here, "auth_types"), "names a type twice"
    for position, name in enumerate(env.rucio):
        instance = rucio.get(name)
        if instance and instance.storage is not None and instance.storage not in env.storages:
            message = f"{name} is in replica mode through the storage {instance.storage}: add that to the storages here"
            yield (*here, "rucio", position), message
    used = [(p, n, s) for p, n in enumerate(env.storages) if (s := storages.get(n)) and n not in env.storages[:p]]
    tokens = [name for _, name, storage in used if storage.type == "eos" and storage.audience]
    if len(tokens) > 1:
        message = f"uses {len(tokens)} EOS storages with OAuth2 ({', '.join(tokens)}): EOS reads one token per server"
        yield (*here, "storages"), message
    # Shortest first: whatever lies in a mount comes right after it.
    used.sort(key=lambda item: (item[2].mount_path + "/", item[0]))
    for (_, above, parent), (position, name, storage) in pairwise(used):
        if is_within(storage.mount_path, parent.mount_path) and not _same_mount(parent, storage):
            yield (*here, "storages", position), f"{name} is mounted on or in {above} ({parent.mount_path})"


def _same_mount(one: Storage, other: Storage) -> bool:
    """Two EOS instances may share the node's one folder of FUSE mounts: what is mounted twice is the same."""
    keys = ("type", "mount_path", "host_path", "read_only")
    return one.type in {"eos", "fuse"} and all(getattr(one, key) == getattr(other, key, None) for key in keys)


def _twice(environments: Sequence[Environment | None]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, env in enumerate(environments):
        if env and env.name in seen:
            yield ("environments", index, "name"), f"there is another environment named {env.name}"
        elif env:
            seen.add(env.name)


def _unknown(kind: str, name: str, known: Mapping[str, object]) -> str:
    return f"there is no {kind} named {name}; there {'are' if len(known) != 1 else 'is'} {', '.join(known) or 'none'}"

"""A catalogue file: text to a checked `Catalogue`, or all that is wrong with it, with line numbers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from jupyterhub_dlaas.catalogue.caches import open_caches
from jupyterhub_dlaas.catalogue.consistency import Finding, Path, inconsistencies
from jupyterhub_dlaas.catalogue.document import Document, read
from jupyterhub_dlaas.catalogue.fields import image, split_url
from jupyterhub_dlaas.catalogue.models import (
    STORAGE_TYPES,
    Basket,
    Catalogue,
    Environment,
    RSEAccess,
    RucioInstance,
    Storage,
)
from jupyterhub_dlaas.errors import CatalogueError, Problem

_STORAGE: TypeAdapter[Storage] = TypeAdapter(Storage)
_RUCIO = TypeAdapter(RucioInstance)
_BASKET = TypeAdapter(Basket)
_ENVIRONMENT = TypeAdapter(Environment)


def parse(text: str, source: str) -> Catalogue:
    """The catalogue in `text`; CatalogueError with every problem of the file and its line. `source` names the file."""
    loaded = load(text, source)
    if loaded.catalogue is None:
        raise CatalogueError(loaded.problems)
    return loaded.catalogue


def schema() -> dict[str, Any]:
    """The JSON Schema of a catalogue file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Catalogue.model_json_schema(),
        "title": "DLaaS catalogue",
    }


@dataclass(frozen=True)
class Loaded:
    """`catalogue` is None exactly when there are problems. `document` knows the lines."""

    catalogue: Catalogue | None
    document: Document
    problems: tuple[Problem, ...]


def load(text: str, source: str) -> Loaded:
    """Like `parse`, but returns the problems, and the document in which later checks find their lines."""
    document = read(text, source)
    problems = list(document.problems)
    catalogue = None
    if document.data is not None:
        try:
            catalogue = Catalogue.model_validate(document.data)
        except ValidationError as error:
            errors = error.errors()
            findings = [found for details in errors if not _follows(details, errors) for found in _findings(details)]
            if not any(details["type"] == "inconsistent" for details in errors):
                findings += _among_the_sound(document.data)
            problems += [document.problem(path, message) for path, message in findings]
    problems.sort(key=lambda problem: problem.line or 0)
    return Loaded(None if problems else catalogue, document, tuple(problems))


def advice(catalogue: Catalogue, document: Document | None = None) -> list[Problem]:
    """What works but should not stay so; a strict hub refuses it."""
    document = document or Document("")
    return [document.problem(path, message) for path, message in _advice(catalogue)]


def _advice(catalogue: Catalogue) -> list[Finding]:
    found: list[Finding] = []
    for index, environment in enumerate(catalogue.environments):
        at: Path = ("environments", index, "image")
        reference = image(environment.image)
        if not reference.tag and not reference.digest:
            found.append((at, f"{environment.image} has neither tag nor digest: what it starts can change at any time"))
        elif reference.tag == "latest" and not reference.digest:
            found.append((at, f"{environment.image} can change at any time: name a version, or better a digest"))
    for name, instance in catalogue.rucio_instances.items():
        for field in ("rucio_host", "auth_host"):
            url = split_url(getattr(instance, field))
            if url.scheme == "http" and url.hostname not in {"localhost", "127.0.0.1", "::1"}:
                at = ("rucio_instances", name, field)
                found.append((at, f"{url.geturl()} is not https: tokens travel readable on the network"))
    for name, basket in catalogue.baskets.items():
        url = split_url(basket.url)
        if basket.audience and url.scheme == "http" and url.hostname not in {"localhost", "127.0.0.1", "::1"}:
            message = f"{url.geturl()} is not https: tokens travel readable on the network"
            found.append((("baskets", name, "url"), message))
    return [*found, *open_caches(catalogue)]


def _among_the_sound(data: Any) -> list[Finding]:
    """Contradictions between the entries that are well-formed, so that they show beside the broken ones' problems."""
    if not isinstance(data, dict):
        return []
    rucio = _each(_RUCIO, data.get("rucio_instances"))
    storages = _each(_STORAGE, data.get("storages"))
    baskets = _each(_BASKET, data.get("baskets"))
    listed = data.get("environments")
    environments = _each(_ENVIRONMENT, dict(enumerate(listed)) if isinstance(listed, list) else {})
    return inconsistencies(rucio, storages, baskets, list(environments.values()))


def _each(adapter: TypeAdapter[Any], entries: Any) -> dict[Any, Any]:
    sound: dict[Any, Any] = {}
    for name, entry in entries.items() if isinstance(entries, Mapping) else ():
        try:
            sound[name] = adapter.validate_python(
                {"display_name": str(name), **entry} if isinstance(entry, dict) else entry
            )
        except ValidationError:
            sound[name] = None
    return sound


def _findings(details: Any) -> list[Finding]:
    """One of pydantic's errors in our words."""
    context = details.get("ctx", {})
    if details["type"] == "inconsistent":
        return list(context["problems"])
    path = _path(details["loc"])
    value = details["input"]
    match details["type"]:
        case "missing" | "union_tag_not_found":
            name = path[-1] if details["type"] == "missing" else "type"
            return [(path, f"{name} is missing" + (f": one of {', '.join(STORAGE_TYPES)}" if name == "type" else ""))]
        case "extra_forbidden":
            known = _fields(path[:-1])
            near = difflib.get_close_matches(str(path[-1]), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}" if known else ""
            return [(path, f"there is no field {path[-1]} here" + (f"; {hint}" if hint else ""))]
        case "union_tag_invalid":
            return [(path, f"{context['tag']!r} is no type of storage: it is one of {', '.join(STORAGE_TYPES)}")]
        case "value_error":
            return [(path, str(context["error"]))]
        case "literal_error":
            return [(path, f"{value!r} is not one of {context['expected'].replace(' or ', ', ')}")]
        case "model_type" | "dict_type" | "model_attributes_type":
            return [(path, "has to be a mapping (name: value)")]
        case "tuple_type" | "list_type":
            return [(path, "has to be a list")]
        case "too_short":
            return [(path, "needs at least one entry")]
        case _:
            shown = "nothing" if value is None else repr(value)[:80]
            return [(path, f"{details['msg'].replace('Input should', 'the value should')}, it is {shown}")]


def _follows(details: Any, errors: list[Any]) -> bool:
    """A list is not too short by itself when the entries that it has are wrong."""
    loc = details["loc"]
    return details["type"] == "too_short" and any(e["loc"][: len(loc)] == loc and e is not details for e in errors)


def _path(loc: tuple[str | int, ...]) -> Path:
    """Pydantic's location without its marks for a key (`[key]`) and for the type of a storage."""
    path = tuple(part for part in loc if part != "[key]")
    if len(path) > 2 and path[0] == "storages" and path[2] in STORAGE_TYPES:
        return (*path[:2], *path[3:])
    return path


def _fields(path: Path) -> list[str]:
    """The fields that an entry at `path` may have."""
    models: dict[str, list[type[BaseModel]]] = {
        "rucio_instances": [RucioInstance],
        "baskets": [Basket],
        "environments": [Environment],
    }
    if not path:
        return list(Catalogue.model_fields)
    chosen = models.get(str(path[0]), []) if len(path) == 2 else []
    if len(path) == 4 and path[2] == "rses":
        chosen = [RSEAccess]
    return [name for model in chosen for name in model.model_fields]

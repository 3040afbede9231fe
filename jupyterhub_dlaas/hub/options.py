"""The Server Options page: offers to HTML, and the posted form back to options.

The fragment stands in JupyterHub's own `spawn.html`, in its form and theme. It needs no script and fetches nothing.
Each environment has its own fields for size and sign-in (`resources:escape/root`), of which the chosen one's count;
they show for the chosen card alone, or always in a browser that does not know CSS `:has()`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import jinja2

from jupyterhub_dlaas.catalogue.demands import Resources
from jupyterhub_dlaas.catalogue.fields import image
from jupyterhub_dlaas.catalogue.models import RucioInstance, Storage
from jupyterhub_dlaas.catalogue.offer import OPTIONS, Offer, choose
from jupyterhub_dlaas.errors import OptionsError

# What JupyterHub itself puts into the form.
_HUBS_OWN = {"_xsrf"}
_SIGN_IN = {
    "oidc": "Your login",
    "x509": "X.509 certificate",
    "x509_proxy": "X.509 proxy",
    "userpass": "Rucio user name and password",
}


def needs_page(offers: Sequence[Offer]) -> bool:
    """Whether there is anything to choose, or (no offers) to explain."""
    if len(offers) != 1:
        return True
    environment = offers[0].environment
    return len(environment.resources) > 1 or len(environment.auth_types) > 1


def render_form(offers: Sequence[Offer], previous: Mapping[str, Any] | None = None) -> str:
    """The HTML fragment for these offers, with the previous choice selected where it is still allowed."""
    template = _templates().get_template("options_form.html")
    if not offers:
        return template.render(vos=[])
    chosen = choose(offers, {}, previous).as_options()
    cards = [_card(index, offer, chosen) for index, offer in enumerate(offers)]
    vos = [
        (name, list(group)) for (_, name), group in groupby(cards, key=lambda card: (card.id.split("/")[0], card.vo))
    ]
    return template.render(vos=vos)


def from_form(formdata: Mapping[str, list[str]]) -> dict[str, str]:
    """User options of a posted form; OptionsError for fields that the form does not have, or a field given twice."""
    for field, values in formdata.items():
        name, colon, _ = field.partition(":")
        if field not in _HUBS_OWN and not (field in OPTIONS or (colon and name in {"resources", "auth_type"})):
            raise OptionsError(f"The form has no field {field[:80]!r}. Its fields are {', '.join(OPTIONS)}.")
        if len(values) != 1:
            raise OptionsError(f"The field {field[:80]} has to be given once, not {len(values)} times.")
    options = {name: formdata[name][0] for name in OPTIONS if name in formdata}
    for name in ("resources", "auth_type"):
        own = formdata.get(f"{name}:{options.get('environment')}")
        if own and name not in options:
            options[name] = own[0]
    return options


@dataclass(frozen=True)
class _Option:
    key: str
    value: str
    title: str
    note: str
    checked: bool


@dataclass(frozen=True)
class _Mount:
    path: str
    title: str
    note: str


@dataclass(frozen=True)
class _Card:
    key: str
    vo: str
    id: str
    checked: bool
    title: str
    description: str
    rucio: list[tuple[str, str]]
    mounts: list[_Mount]
    image: str
    full_image: str
    only_size: str
    choices: list[tuple[str, str, list[_Option]]]


def _card(index: int, offer: Offer, chosen: Mapping[str, str]) -> _Card:
    environment = offer.environment
    key = f"dlaas-{index}"
    mine: Mapping[str, str] = chosen if chosen["environment"] == offer.id else {}
    size = mine.get("resources", next(iter(environment.resources), ""))
    auth_type = mine.get("auth_type", environment.auth_types[0])
    sizes = [
        _Option(f"{key}-size-{name}", name, resources.display_name or name, _amounts(resources), name == size)
        for name, resources in environment.resources.items()
    ]
    sign_in = [_Option(f"{key}-{kind}", kind, _SIGN_IN[kind], "", kind == auth_type) for kind in environment.auth_types]
    choices = [
        (f"resources:{offer.id}", "Size", sizes),
        (f"auth_type:{offer.id}", "Sign in to Rucio with", sign_in),
    ]
    return _Card(
        key=key,
        vo=offer.catalogue.display_name,
        id=offer.id,
        checked=bool(mine),
        title=environment.display_name,
        description=environment.description,
        rucio=[(instance.display_name, _how(instance, offer)) for _, instance in offer.rucio],
        mounts=[_Mount(storage.path, storage.display_name, _rights(storage)) for _, storage in offer.storages],
        image=_short(environment.image),
        full_image=environment.image,
        only_size=sizes[0].note if len(sizes) == 1 else "",
        choices=[choice for choice in choices if len(choice[2]) > 1],
    )


def _how(instance: RucioInstance, offer: Offer) -> str:
    if instance.storage is None:
        return "files are downloaded into the server"
    return f"files appear in {offer.catalogue.storages[instance.storage].path}"


def _rights(storage: Storage) -> str:
    if storage.read_only:
        return "read-only"
    return "your own" if getattr(storage, "per_user", False) else "writable"


def _amounts(resources: Resources) -> str:
    return ", ".join(_each_amount(resources))


def _each_amount(resources: Resources) -> Iterator[str]:
    if resources.cpu is not None:
        yield f"{resources.cpu:g} core{'' if resources.cpu == 1 else 's'}"
    if resources.memory is not None:
        small = resources.memory < 2**30
        yield f"{resources.memory / (2**20 if small else 2**30):.3g} {'MB' if small else 'GB'} memory"
    if resources.gpu:
        yield f"{resources.gpu} GPU{'' if resources.gpu == 1 else 's'}"


def _short(reference: str) -> str:
    """`root:6.32`, or `root@1a2b3c4d5e6f` for an image that has only a digest."""
    full = image(reference)
    version = f":{full.tag}" if full.tag else f"@{full.digest.removeprefix('sha256:')[:12]}" if full.digest else ""
    return full.name.rpartition("/")[2] + version


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("jupyterhub_dlaas.hub")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)

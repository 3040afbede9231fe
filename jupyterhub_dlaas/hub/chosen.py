"""What a running server was started with: found again in the catalogue, or in the server's own saved state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.catalogue.models import Catalogue
from jupyterhub_dlaas.catalogue.offer import Choice, Offer


def find_offer(catalogues: Any, offer_id: str) -> Offer | None:
    """The offer with this id in the open catalogues, whoever may start it."""
    vo, _, name = offer_id.partition("/")
    catalogue = catalogues.open.get(vo)
    for environment in catalogue.environments if catalogue is not None else ():
        if environment.name == name:
            return Offer(vo, environment, catalogue, catalogues.vos[vo])
    return None


def saved_offer(catalogues: Any, saved: Any) -> Offer | None:
    """The offer in a server's saved state; None where an earlier release saved none, or another kind."""
    try:
        catalogue = Catalogue.model_validate(saved)
    except ValidationError:
        return None
    return Offer(catalogue.vo, catalogue.environments[0], catalogue, catalogues.vos.get(catalogue.vo, Grant()))


def as_it_was(offer: Offer, chosen: Mapping[str, str]) -> Choice:
    """The choice that `chosen` made once, as far as the environment still has it."""
    size = chosen.get("resources")
    sizes, types = offer.environment.resources, offer.environment.auth_types
    return Choice(
        offer,
        size if size in sizes else None,
        sizes.get(size) if size is not None else None,
        chosen["auth_type"] if chosen.get("auth_type") in types else types[0],
    )

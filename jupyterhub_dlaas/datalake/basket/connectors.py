"""Which service a basket is read from, and which connector takes which item."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from jupyterhub_dlaas.datalake.basket.items import Connector, Item, Reference
from jupyterhub_dlaas.datalake.basket.plain_url import PlainURLConnector
from jupyterhub_dlaas.datalake.basket.rucio import RucioConnector
from jupyterhub_dlaas.datalake.basket.service import items
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Basket

GROUP = "jupyterhub_dlaas.basket_connectors"
SERVICES = "jupyterhub_dlaas.basket_services"


def references(basket: Basket, *, user: str) -> list[Reference]:
    """Everything in the basket, each with the first connector that takes it, in the basket's order. Raises Failure."""
    read, known = _service(basket), connectors()
    return [
        Reference(item, None if item.problem else next((each for each in known if each.takes(item)), None))
        for item in read(basket, user=user)
    ]


def connectors() -> list[Connector]:
    """Those of other packages first, by name, then the two that are built in: the particular before the general."""
    found = [_loaded(entry) for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]
    others: list[Connector] = [each() if isinstance(each, type) else each for each in found]
    return [*others, RucioConnector(), PlainURLConnector()]


def _service(basket: Basket) -> Callable[..., Iterable[Item]]:
    """What reads baskets of this kind: a function of the basket and `user` that gives items."""
    if basket.connector == "esap":
        return items
    others = {entry.name: entry for entry in entry_points(group=SERVICES)}
    if basket.connector in others:
        service: Callable[..., Iterable[Item]] = _loaded(others[basket.connector])
        return service
    raise Failure(
        f"The basket {basket.display_name} is of a kind that this command does not know: {basket.connector!r}.",
        f"Update the image; this one knows {', '.join(['esap', *sorted(others)])}.",
        Code.USAGE,
    )


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise Failure(
            f"The basket connector {entry.name} ({entry.value}) cannot be imported: {error}.",
            "Mend or remove the package that brings it.",
            Code.USAGE,
        ) from error

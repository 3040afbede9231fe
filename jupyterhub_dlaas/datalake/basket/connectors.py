"""Which connector takes which item."""

from __future__ import annotations

from importlib.metadata import entry_points

from jupyterhub_dlaas.datalake.basket.items import Connector, Reference
from jupyterhub_dlaas.datalake.basket.plain_url import PlainURLConnector
from jupyterhub_dlaas.datalake.basket.rucio import RucioConnector
from jupyterhub_dlaas.datalake.basket.service import items
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Basket

GROUP = "jupyterhub_dlaas.basket_connectors"
_SERVICES = {"esap": items}


def references(basket: Basket, *, user: str) -> list[Reference]:
    """Everything in the basket, each with the first connector that takes it, in the basket's order. Raises Failure."""
    service = _SERVICES.get(basket.connector)
    if service is None:
        raise Failure(
            f"The basket {basket.display_name} is of a kind that this command does not know: {basket.connector!r}.",
            f"Update the image; this one knows {', '.join(_SERVICES)}.",
            Code.USAGE,
        )
    known = connectors()
    return [
        Reference(item, None if item.problem else next((each for each in known if each.takes(item)), None))
        for item in service(basket, user=user)
    ]


def connectors() -> list[Connector]:
    """Those of other packages first, by name, then the two that are built in: the particular before the general."""
    found: list[Connector] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            loaded = entry.load()
        except (ImportError, AttributeError) as error:
            raise Failure(
                f"The basket connector {entry.name} ({entry.value}) cannot be imported: {error}.",
                "Mend or remove the package that brings it.",
                Code.USAGE,
            ) from error
        found.append(loaded() if isinstance(loaded, type) else loaded)
    return [*found, RucioConnector(), PlainURLConnector()]

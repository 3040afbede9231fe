"""The shopping basket: what a person chose in a portal such as ESAP, found again in their server.

`references(basket, user=...)` reads it, `resolve(references, client)` says which data of the lake are meant. What an
item means is the business of a connector, one per archive: `Connector` is all there is to one. Two are built in, for
Rucio and for plain URLs; a package adds others by entry points of the group `jupyterhub_dlaas.basket_connectors`.
"""

from __future__ import annotations

from jupyterhub_dlaas.datalake.basket.connectors import connectors, references
from jupyterhub_dlaas.datalake.basket.items import Connector, Item, Reference
from jupyterhub_dlaas.datalake.basket.resolving import Resolved, resolve

__all__ = ["Connector", "Item", "Reference", "Resolved", "connectors", "references", "resolve"]

"""`datalake.json`: what the command `datalake` has to know about this server. Paths of tokens, never a token."""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING, Any

from jupyterhub_dlaas.bundle.paths import Places
from jupyterhub_dlaas.catalogue.models import Basket, RucioInstance, ScratchStorage

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.offer import Choice

VERSION = 1


def datalake_json(
    choice: Choice, places: Places, *, user: str, account: str, auth_type: str, folder: str = "", withheld: str = ""
) -> bytes:
    """`folder` is the user's own one in a scratch space with `per_user`, "" where the spawner makes none.

    With a `withheld` sentence (a server that its owner shares with others) no path of a token is in it.
    """
    offer = choice.offer
    open_places = None if withheld else places
    document: dict[str, Any] = {
        "version": VERSION,
        "user": user,
        "account": account,
        "auth_type": auth_type,
        "xcache_site": offer.environment.xcache_site,
        "instances": [_instance(choice, open_places, name, instance) for name, instance in offer.rucio],
        "scratch": [
            _scratch(name, storage, folder) for name, storage in offer.storages if isinstance(storage, ScratchStorage)
        ],
        "baskets": [_basket(open_places, name, basket) for name, basket in offer.baskets],
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _instance(choice: Choice, places: Places | None, name: str, instance: RucioInstance) -> dict[str, Any]:
    mounted = dict(choice.offer.storages)[instance.storage] if instance.storage else None
    return {
        "name": name,
        "display_name": instance.display_name or name,
        "rucio_host": instance.rucio_host,
        "auth_host": instance.auth_host,
        "ca_cert": instance.rucio_ca_cert,
        "vo": instance.vo,
        "app_id": instance.app_id,
        "token": places.token(instance.audience) if places else None,
        "mode": instance.mode,
        "destination_rse": instance.destination_rse,
        "mount": mounted.path if mounted else None,
        "path_begins_at": instance.path_begins_at,
        "lifetime_days": instance.replication_rule_lifetime_days,
        # A list, because the first pattern that fits counts.
        "storage_tokens": [
            {"rse": pattern, "token": places.token(access.audience)} for pattern, access in instance.rses.items()
        ]
        if places
        else [],
    }


def _scratch(name: str, storage: ScratchStorage, folder: str) -> dict[str, Any]:
    # What is mounted is `rse_path` below the RSE's prefix, or the user's own folder there; users may look deeper.
    deeper = posixpath.relpath(storage.path, storage.mount_path)
    parts = [storage.rse_path, folder if storage.per_user else "", "" if deeper == "." else deeper]
    return {
        "name": name,
        "path": storage.path,
        "rse": storage.rse,
        "rse_path": "/".join(part for part in parts if part) if storage.rse else "",
    }


def _basket(places: Places | None, name: str, basket: Basket) -> dict[str, Any]:
    return {
        "name": name,
        "display_name": basket.display_name or name,
        "connector": basket.connector,
        "url": basket.url,
        "token": places.token(basket.audience) if places and basket.audience else None,
    }

"""How a DID can be read in this server, in a sentence."""

from __future__ import annotations

from typing import Any

from jupyterhub_dlaas.datalake.dids import File
from jupyterhub_dlaas.datalake.lake import Instance
from jupyterhub_dlaas.datalake.local import can_be_brought, local_paths
from jupyterhub_dlaas.datalake.places import Description


def here(client: Any, instance: Instance, found: Description, *, site: str | None) -> tuple[str, str | None]:
    """The sentence, and for a file that is here its path. `site`: the environment's cache."""
    did = found.entry.did
    if not found.places:
        return "nowhere, no storage has a copy.", None
    if instance.mount is None or instance.destination_rse is None:
        through = f", through the cache of {site}" if site else ""
        return f"with datalake download{through}.", None
    if found.entry.kind == "file":
        file = File(did, found.entry.bytes or 0, None, None)
        ((_, path, why),) = local_paths(client, instance, [file])
        if path is not None:
            return f"it is on {instance.destination_rse}, mounted here at {instance.mount}.", str(path)
        bring = f" Bring it with: datalake make-available {did}" if can_be_brought(why) else ""
        return f"not yet: {why}.{bring}", None
    there = next((place.files for place in found.places if place.rse == instance.destination_rse), 0)
    total = found.entry.files
    if total and there >= total:
        return f"all of it is on {instance.destination_rse}; the paths are told by: datalake path {did}", None
    return (
        f"{there:,} of {total or 0:,} files are on {instance.destination_rse}, which is mounted at {instance.mount}. "
        f"Bring all with: datalake make-available {did}",
        None,
    )

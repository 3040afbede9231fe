"""Where a storage (RSE) keeps a file: its path, computed as Rucio does or taken from a physical file name (PFN)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID

PathOf = Callable[[DID], str]


def computed(rse: Mapping[str, Any], prefix: str) -> PathOf | None:
    """The function from a DID to its path on a deterministic storage, `rse` as `client.get_rse` gives it.

    None where only Rucio's server can say: the storage is not deterministic, or its algorithm is not known here.
    """
    if not rse.get("deterministic"):
        return None
    from rucio.common.exception import ConfigNotFound
    from rucio.rse.translation import RSEDeterministicTranslation

    # The server has put the name of its own default here already.
    if not RSEDeterministicTranslation.supports(rse.get("lfn2pfn_algorithm")):
        return None
    try:
        translate = RSEDeterministicTranslation(rse["rse"], rse, {}, "").path
        translate("probe", "probe")
    except ConfigNotFound:  # a policy package is looked for in a rucio.cfg; there is none
        return None
    start = f"/{prefix.strip('/')}/" if prefix.strip("/") else "/"
    return lambda did: start + translate(did.scope, did.name)


def read_prefix(rse: Mapping[str, Any]) -> str | None:
    """The prefix of the protocol by which the storage is read from afar first, else from nearby; None: by none."""

    def priority(protocol: Mapping[str, Any], domain: str) -> int:
        return protocol["domains"].get(domain, {}).get("read") or 0  # older servers write 0 for None

    for domain in ("wan", "lan"):
        able = [protocol for protocol in rse["protocols"] if priority(protocol, domain)]
        if able:
            first = min(able, key=lambda protocol: priority(protocol, domain))
            return str(first["prefix"])
    return None


def path_of(pfn: str) -> str:
    """The path in a physical file name, whatever characters are in it.

    Not by a URL parser: nothing is escaped in a PFN, so `#` and `?` are part of a name.
    """
    _, scheme, rest = pfn.partition("://")
    if not scheme:
        return pfn
    if "?SFN=" in rest:  # SRM
        return rest.partition("?SFN=")[2]
    _, slash, path = rest.partition("/")
    return slash + path


def below_mount(path: str, begins_at: int) -> str:
    """What comes after the mount point: the path without its first `begins_at` components (rucio-jupyterlab 41)."""
    return path.strip("/").split("/", begins_at)[-1]


def leads_out(path: str) -> bool:
    """Whether a path climbs with `..`, which a name in Rucio may."""
    return ".." in path.split("/")

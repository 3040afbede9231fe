"""What an XCache does not bear, found in what Rucio says of its RSEs (`dlaas catalogue check --ask-rucio`).

As seen with Rucio 41 and XRootD 5.5: for a client with a site, Rucio puts the site's cache in front of the address of
every replica at another site that is read over root, http or https (davs not). The client has no protocol for
`root://cache//https://...`, so such a download fails. The key of a cached file is its path alone, without the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from jupyterhub_dlaas.catalogue.models import RucioInstance
from jupyterhub_dlaas.errors import DLaaSError

_PREFIXED = {"root", "http", "https"}


class RucioNotAsked(DLaaSError):
    """The instance's Rucio did not tell its RSEs."""


@dataclass(frozen=True)
class Protocol:
    """One way to read an RSE from elsewhere; 1 is the best `priority`."""

    scheme: str
    prefix: str
    priority: int


@dataclass(frozen=True)
class RSE:
    """What matters of an RSE. `algorithm` makes its paths; "" where every file has a path of its own."""

    name: str
    site: str
    algorithm: str
    protocols: tuple[Protocol, ...]


def broken_by_cache(site: str, rses: Sequence[RSE]) -> Iterator[str]:
    """Sentences on RSEs whose files cannot be read, or are taken for one another, through the cache of `site`."""
    through = [rse for rse in rses if rse.site != site]
    for rse in through:
        best = min(rse.protocols, key=lambda protocol: protocol.priority, default=None)
        if best is not None and best.scheme in {"http", "https"}:
            yield (
                f"{rse.name} is read by {best.scheme}: downloads through the cache of {site} fail. Give the RSE the "
                "scheme root as its first, or leave xcache_site out"
            )
    for one, other in combinations(through, 2):
        shared = _shared_prefix(one, other)
        if shared and not (one.algorithm and one.algorithm == other.algorithm):
            yield (
                f"{one.name} and {other.name} both have files at {shared}, and not by one rule: the cache of {site} "
                "takes files with the same path for the same file. Give each RSE a prefix of its own"
            )


def ask(instance: RucioInstance) -> list[RSE]:
    """The RSEs of an instance, asked with the operator's own rucio.cfg. Raises RucioNotAsked."""
    try:
        from rucio.client import Client
    except ImportError as error:
        raise RucioNotAsked(
            f"Rucio's clients are not installed here ({error}).", hint="pip install 'jupyterhub-dlaas[datalake]'"
        ) from error
    from jupyterhub_dlaas.datalake.failure import failure_of

    try:
        client = Client(
            rucio_host=instance.rucio_host,
            auth_host=instance.auth_host,
            ca_cert=instance.rucio_ca_cert,
            vo=instance.vo,
            timeout=60,
        )
        return list(_rses(client))
    except EOFError as error:  # it asked for a code that nobody can type
        raise RucioNotAsked("It does not accept your sign-in.", hint="Your rucio.cfg (RUCIO_HOME) has to.") from error
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        raise RucioNotAsked(failure.sentence, hint="Your own rucio.cfg (RUCIO_HOME) has to fit it.") from error


def _rses(client: Any) -> Iterable[RSE]:
    for name in sorted(entry["rse"] for entry in client.list_rses()):
        about, attributes = client.get_rse(name), client.list_rse_attributes(name)
        protocols = []
        for protocol in about["protocols"]:
            priority = protocol["domains"].get("wan", {}).get("read")
            if priority:
                protocols.append(Protocol(protocol["scheme"], protocol["prefix"], int(priority)))
        algorithm = str(attributes.get("lfn2pfn_algorithm") or "default") if about["deterministic"] else ""
        yield RSE(name, str(attributes.get("site") or ""), algorithm, tuple(protocols))


def _shared_prefix(one: RSE, other: RSE) -> str:
    """A folder in which both have files, where both are read through a cache."""
    mine, theirs = (
        {"/" + "/".join(part for part in each.prefix.split("/") if part) for each in rse.protocols if _cached(each)}
        for rse in (one, other)
    )
    if same := mine & theirs:
        return sorted(same)[0]
    if one.algorithm and other.algorithm:
        return ""  # one in the other: paths by rule meet only if a scope is named like a folder
    pairs = ((a, b) for a in mine for b in theirs)
    return next(
        (max(a, b, key=len) for a, b in pairs if f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")), ""
    )


def _cached(protocol: Protocol) -> bool:
    return protocol.scheme in _PREFIXED

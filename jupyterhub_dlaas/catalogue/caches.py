"""What to look out for where an environment reads through an XCache (`xcache_site`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jupyterhub_dlaas.catalogue.consistency import Finding

if TYPE_CHECKING:
    from jupyterhub_dlaas.catalogue.models import Catalogue, Environment


def open_caches(catalogue: Catalogue) -> Iterator[Finding]:
    """Caches that may give protected files to anybody.

    An XCache reads protected storage with a token of its own and does not ask for the user's: in front of storage with
    tokens an open one serves embargoed data to everybody who knows a path.
    """
    for index, environment in enumerate(catalogue.environments):
        guarded = sorted({pattern for name in environment.rucio for pattern in catalogue.rucio_instances[name].rses})
        if environment.xcache_site and guarded and not environment.xcache_tokens:
            yield (
                ("environments", index, "xcache_site"),
                f"the cache of {environment.xcache_site} is in front of storage with tokens ({', '.join(guarded)}): "
                "unless it asks for tokens itself it serves protected files to anybody. If it does, say xcache_tokens: "
                "true",
            )


def reads_through_cache(environment: Environment) -> str:
    """What cannot be seen in a catalogue, as a hint for an environment with an `xcache_site`."""
    return (
        f"downloads go through the cache of {environment.xcache_site}. Those from RSEs of other sites by https or http "
        "fail, and RSEs with the same prefix need the same path for the same file, as a cache does not tell storages "
        "apart. --ask-rucio looks for both"
    )

"""Storage that is neither root:// nor https://, by Rucio's own protocol classes (srm, gsiftp, s3, davs by gfal ...)."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of
from jupyterhub_dlaas.datalake.sources import Source


def get(client: Any, source: Source, path: Path, token: str | None) -> None:
    """Puts the source's bytes at `path`. Failure where Rucio's protocol has one, or is not installed here."""
    from rucio.common.exception import RucioException
    from rucio.rse import rsemanager

    # A copy: the classes change what they are given, and threads would meet there.
    settings = deepcopy(client.get_rse(source.rse))
    # Where Rucio asks for a URL's signature or a path it does so by rucio.cfg, which is the first instance's.
    try:
        protocol = rsemanager.create_protocol(settings, "read", scheme=source.scheme, auth_token=token)
        protocol.connect()
        try:
            protocol.get(source.pfn, str(path))
        finally:
            protocol.close()
    except (RucioException, OSError) as error:
        known = failure_of(error)
        if known is None:
            raise
        raise known from error
    except (ImportError, AttributeError) as error:
        sentence = f"{source.rse} is read with {source.scheme}://, for which this image has no client ({error})."
        raise Failure(sentence, "Ask the makers of the image for it (gfal2).", Code.FAILED) from error

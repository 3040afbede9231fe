"""Files of the data lake into a local folder: several at once, checked, and going on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jupyterhub_dlaas.datalake.client import client as lake_client
from jupyterhub_dlaas.datalake.dids import DID, parse, unknown
from jupyterhub_dlaas.datalake.downloaded import Failed, Report
from jupyterhub_dlaas.datalake.downloading import Run
from jupyterhub_dlaas.datalake.failure import failure_of
from jupyterhub_dlaas.datalake.lake import load

__all__ = ["Failed", "Report", "download", "total_bytes"]


def download(
    dids: Iterable[str | DID],
    folder: str | os.PathLike[str],
    *,
    instance: str | None = None,
    workers: int = 4,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
    renewal_seconds: float = 90.0,
    environ: Mapping[str, str] = os.environ,
    rucio: Any = None,
) -> Report:
    """Gets files, and the files of datasets and containers, into `folder`.

    A dataset's or container's files go to a folder of its name, a file by itself straight into `folder`. Every file is
    checked against Rucio's size and checksum before it has its name; one that is there and whole is not fetched again,
    one that is there and different is left alone unless `overwrite`. Memory does not grow with the number of files.

    `on_progress` is called with how many bytes more are there, from several threads, one at a time. A storage that
    refuses an expired token is asked again when the hub has renewed it, for which `renewal_seconds` are waited.
    `rucio`: a client of the instance, where there is one already.

    Raises Failure for what concerns all files: no such DID, Rucio's refusal, a full disk. What concerns one is in the
    report.
    """
    lake = load(environ)
    chosen = lake.instance(instance)
    rucio = rucio or lake_client(instance, environ=environ)
    wanted = [did if isinstance(did, DID) else parse(did, rucio) for did in dids]
    from rucio.common.exception import RucioException

    run = Run(
        rucio,
        chosen,
        Path(folder).expanduser().absolute(),
        rucio_token=chosen.token if lake.auth_type == "oidc" else None,
        site=lake.xcache_site or environ.get("SITE_NAME"),
        overwrite=overwrite,
        on_progress=on_progress or (lambda more: None),
        renewal_seconds=renewal_seconds,
    )
    try:
        return run.all(list(dict.fromkeys(wanted)), max(1, workers))
    except (RucioException, OSError) as error:
        failure = failure_of(error)
        if failure is None:
            raise
        raise failure from error


def total_bytes(dids: Iterable[DID], rucio: Any) -> int | None:
    """The size of all files of the DIDs together, for a progress bar; None where Rucio does not know."""
    from rucio.common.exception import DataIdentifierNotFound

    total = 0
    for did in dids:
        try:
            size = rucio.get_did(did.scope, did.name, dynamic_depth="FILE").get("bytes")
        except DataIdentifierNotFound as error:
            raise unknown(did) from error
        if size is None:
            return None
        total += size
    return total

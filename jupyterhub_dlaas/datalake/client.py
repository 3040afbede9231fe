"""`jupyterhub_dlaas.datalake.client()`: a Rucio client for notebooks and scripts that stays signed in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jupyterhub_dlaas.datalake.failure import failure_of
from jupyterhub_dlaas.datalake.lake import load

if TYPE_CHECKING:
    from jupyterhub_dlaas.datalake.rucio_client import LakeClient


def client(instance: str | None = None, *, environ: Mapping[str, str] = os.environ, timeout: float = 60) -> LakeClient:
    """A `rucio.client.Client` of the instance of this name, or of the server's first.

    It takes each request's token from the file that the hub keeps fresh, so it lives as long as its process. It never
    asks on standard input: a sign-in that Rucio does not accept is a Failure. A short outage (502, 503, connection
    refused: 7.5 s in all) is waited for where a request may be repeated. `timeout`: seconds of silence.
    """
    lake = load(environ)
    chosen = lake.instance(instance)
    from rucio.common.exception import RucioException

    from jupyterhub_dlaas.datalake.rucio_client import LakeClient

    try:
        return LakeClient(lake, chosen, timeout=timeout, environ=environ)
    except (RucioException, OSError) as error:  # of its first sign-in; requests' exceptions are OSErrors
        failure = failure_of(error)
        if failure is None:
            raise
        raise failure from error


class _Callable(ModuleType):
    """Importing this module puts it, not the function, at `jupyterhub_dlaas.datalake.client`: so it is callable."""

    def __call__(self, *args: Any, **kwargs: Any) -> LakeClient:
        return client(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

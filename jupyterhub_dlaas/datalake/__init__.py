"""What runs in the user's server: the command `datalake`, its functions for notebooks, and a Jupyter server extension.

`from jupyterhub_dlaas import datalake; datalake.client()` is a Rucio client that stays signed in.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyterhub_dlaas.datalake.extension"}]


def __getattr__(name: str) -> Any:
    if name != "client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return importlib.import_module(f"{__name__}.client")

"""Data Lake as a Service for JupyterHub.

In `jupyterhub_config.py`: `import jupyterhub_dlaas; jupyterhub_dlaas.setup(c)`. Importing the package alone imports
next to nothing, because the agent beside every notebook imports it too.
"""

from __future__ import annotations

__version__ = "0.1.0"


def setup(c: object) -> None:
    """Adds what the data lake needs to the hub's configuration object `c`; see `jupyterhub_dlaas.hub.setup`."""
    from jupyterhub_dlaas.hub.setup import setup as _setup

    _setup(c)

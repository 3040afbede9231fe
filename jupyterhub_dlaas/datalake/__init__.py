"""What runs in the user's server: the command `datalake`, and a Jupyter server extension loaded under this name."""

from __future__ import annotations


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyterhub_dlaas.datalake.extension"}]

"""Imported by Python's fork server, so that the processes it starts for downloads have the instances' tokens too."""

from __future__ import annotations

from jupyterhub_dlaas.datalake import rucio_tokens

rucio_tokens.install()

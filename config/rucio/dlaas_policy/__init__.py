"""A policy package for Rucio: its generic policy, and everybody's own rules are their own.

See README.md beside this folder in jupyterhub-dlaas for why and how.
"""

SUPPORTED_VERSION = [">=41,<42"]  # the releases it was tried on

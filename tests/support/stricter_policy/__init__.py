"""A policy package for Rucio, stricter than ours: for the tests of what `datalake` does where users may do less."""

SUPPORTED_VERSION = [">=41,<42"]

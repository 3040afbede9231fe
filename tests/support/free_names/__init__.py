"""A policy package for Rucio that lets names have any characters: sites with a schema of their own do."""

SUPPORTED_VERSION = [">=41,<42"]

"""Rucio's generic schema, but for the names of DIDs."""

NAME = {"description": "Data Identifier name", "type": "string", "maxLength": 250, "pattern": "^[^:]+$"}

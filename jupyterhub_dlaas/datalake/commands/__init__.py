"""One module per command of `datalake`; the command `make-available` is `make_available.command`.

A module imports click and the standard library alone at its top, and the rest in the function: `datalake --help` reads
them all.
"""

"""DIDs as the commands take them: as arguments, or `-` for one per line on standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from jupyterhub_dlaas.datalake.dids import DID, parse


def many(arguments: Sequence[str], client: Any) -> Iterator[DID]:
    """The DIDs in their order, read as they are needed."""
    for argument in arguments:
        if argument != "-":
            yield parse(argument, client)
            continue
        for line in sys.stdin:
            if text := line.rstrip("\r\n"):
                yield parse(text, client)

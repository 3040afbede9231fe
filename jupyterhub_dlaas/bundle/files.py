"""One file of a bundle: what the agent writes beside the notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class BundleFile:
    """`path` is relative to its `root`: "files" is `$DLAAS_DIR`, "cache" is `$RUCIO_CACHE_DIR`.

    A file that is to be written `once` belongs to the user from then on and is never overwritten. The content may hold
    a token, so it is not part of `repr`.
    """

    path: str
    mode: int
    content: bytes = field(repr=False)
    when: Literal["always", "once"] = "always"
    root: Literal["files", "cache"] = "files"

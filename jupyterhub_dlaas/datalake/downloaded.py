"""What came of a download."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure

TOLD = 100  # failures that are kept in words


@dataclass(frozen=True)
class Failed:
    """A file that could not be had, and why."""

    did: DID
    failure: Failure


@dataclass
class Report:
    """What came of a download. `present`: files that were there whole already. `bytes`: of those that were fetched.

    `unverified` files have no checksum in Rucio: their size was compared alone. `failed` counts all failures, and
    `failures` has the first hundred.
    """

    folder: Path
    downloaded: int = 0
    present: int = 0
    bytes: int = 0
    unverified: int = 0
    failed: int = 0
    failures: list[Failed] = field(default_factory=list)
    through_cache: int = 0

    @property
    def code(self) -> Code:
        """The exit code that says it: that of the failures where all are of one kind."""
        codes = {entry.failure.code for entry in self.failures}
        return Code.OK if not self.failed else codes.pop() if len(codes) == 1 else Code.FAILED

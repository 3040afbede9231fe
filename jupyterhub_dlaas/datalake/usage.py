"""How much of each storage (RSE) is the user's, and how much may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Bytes and files that the user's rules keep on one storage. `limit` in bytes; None: none is set, so no rule may be
    made there, except by administrators."""

    rse: str
    used: int
    limit: int | None
    files: int

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self.limit is not None and self.used >= self.limit


def usages(client: Any) -> list[Usage]:
    """The account's use of each storage where it has or may have something, by name."""
    found = (
        Usage(entry["rse"], entry["bytes"] or 0, entry.get("bytes_limit"), entry.get("files") or 0)
        for entry in client.get_local_account_usage(client.account)
    )
    return sorted((usage for usage in found if usage.used or usage.limit), key=lambda usage: usage.rse)

"""How often a caller may ask: a token bucket, the one idea behind every limit of the hub's own routes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class TokenBucket:
    """`burst` requests at once, then `per_second` of them. Instants are seconds of any steady clock."""

    per_second: float
    burst: float
    _level: float = math.nan
    _at: float = 0.0

    def take(self, now: float) -> float:
        """Takes one request; returns 0.0 when it may go on, else the seconds to wait before the next try."""
        if math.isnan(self._level):
            self._level = self.burst
        else:
            self._level = min(self.burst, self._level + max(0.0, now - self._at) * self.per_second)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self.per_second

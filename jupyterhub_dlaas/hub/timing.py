"""When to renew and when to try again: pure arithmetic on epoch seconds and seconds."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_RETRY_AFTER_SECONDS = 600.0


@dataclass(frozen=True)
class Lead:
    """How long before its end a token is renewed: the larger of a minimum and a share of its lifetime.

    Never more than half of the lifetime, or a token that lives shorter than the minimum would be due at once for ever.
    """

    minimum_seconds: float = 60.0
    share: float = 0.2

    def seconds(self, lifetime_seconds: float) -> float:
        """The lead for a token that lives so long from its issue."""
        wished = max(self.minimum_seconds, self.share * lifetime_seconds)
        return max(0.0, min(wished, lifetime_seconds / 2))

    def due(self, issued_at: float, expires_at: float, jitter: float) -> float:
        """When to renew. `jitter` in [0, 1) moves it ahead by up to a tenth of the lifetime, never back."""
        lifetime = max(0.0, expires_at - issued_at)
        return expires_at - self.seconds(lifetime) - jitter * lifetime / 10


def enough(issued_at: float, expires_at: float, at_least: float, now: float) -> bool:
    """Whether a token lasts `at_least` seconds more, or half its lifetime where that is all one can ask for."""
    return expires_at - now >= min(at_least, (expires_at - issued_at) / 2)


@dataclass(frozen=True)
class Backoff:
    """Delays that double from `first_seconds` up to `longest_seconds`."""

    first_seconds: float
    longest_seconds: float

    def delay(self, failures: int, jitter: float, retry_after: float | None = None) -> float:
        """Seconds to wait after that many failures in a row (1 is the first). IAM's Retry-After is kept to."""
        own = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 20)) * (1 + jitter / 4)
        return max(own, min(retry_after or 0.0, _LONGEST_RETRY_AFTER_SECONDS))


@dataclass(frozen=True)
class Retry:
    """Failures in a row of one thing, when it was tried last and when it is tried again by itself."""

    failures: int
    tried_at: float
    again_at: float

    def may_try(self, now: float, *, asked: bool) -> bool:
        """Whether it may be tried now. A person who waits (`asked`) need not sit out the whole delay."""
        return now >= (min(self.again_at, self.tried_at + _PATIENCE_SECONDS) if asked else self.again_at)


_PATIENCE_SECONDS = 5.0
OUTAGE = Backoff(5.0, 60.0)
SLOW = Backoff(60.0, 900.0)
"""For what a person has to mend: a disabled account, a refused audience, a wrong secret."""

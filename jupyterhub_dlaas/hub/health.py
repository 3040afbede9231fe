"""Whether IAM answers: what one user's renewal found out spares all others the wait."""

from __future__ import annotations

from jupyterhub_dlaas.errors import Outage
from jupyterhub_dlaas.hub.timing import OUTAGE
from jupyterhub_dlaas.oidc.clock import Clock


class Health:
    """Failures in a row of one issuer; `ok_again_at` is when somebody should try it next (epoch seconds)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failures = 0
        self.ok_again_at = 0.0
        self.error: Outage | None = None

    def failed(self, error: Outage) -> None:
        """IAM did not answer, or said that it cannot. Failures while nobody should try count once."""
        now = self._clock.now()
        self.error = error
        if now < self.ok_again_at and error.retry_after is None:
            return
        self.failures += 1
        self.ok_again_at = max(self.ok_again_at, now + OUTAGE.delay(self.failures, 0.0, error.retry_after))

    def worked(self) -> None:
        """IAM answered, be it with a refusal."""
        self.failures, self.ok_again_at, self.error = 0, 0.0, None

    @property
    def down(self) -> bool:
        """Whether the last thing that was heard of IAM is that it does not answer."""
        return self.error is not None

    def wait_seconds(self) -> float:
        """How long the background should leave IAM alone."""
        return max(0.0, self.ok_again_at - self._clock.now())

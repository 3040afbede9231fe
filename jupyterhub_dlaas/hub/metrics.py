"""`dlaas_*` in the registry that JupyterHub shows. No label ever names a user: `/hub/metrics` may be public."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

OK = "ok"
Gauges = Mapping[str, float | Mapping[tuple[str, ...], float]]
"""A figure by name, or figures by the values of the name's labels."""

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)


class Metrics:
    """Counters that the keeper moves, and gauges that are worked out only when somebody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.exchanges = Counter(
            "dlaas_exchanges", "Token exchanges by audience and class of the answer", ["audience", "class"],
            registry=registry,
        )  # fmt: skip
        self.refreshes = Counter(
            "dlaas_refreshes", "Refresh grants by class of the answer", ["class"], registry=registry
        )
        self.seconds = Histogram(
            "dlaas_iam_request_seconds",
            "Time that IAM took to answer",
            ["operation"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._gauges = _Gauges()
        registry.register(self._gauges)

    def gauges(self, source: Callable[[], Gauges]) -> None:
        """Sets who answers at scrape time; names without the prefix `dlaas_` are keys of `GAUGES`."""
        self._gauges.source = source


GAUGES = {
    "token_seconds_left_min": "Seconds until the first token of a watched user expires",
    "users_watched": "Users whose tokens are kept alive because a server of theirs runs",
    "users_due": "Watched users whose renewal is due now",
    "sessions_dead": "Sessions that only a new login can revive",
    "mounts": "Mounts of running servers as their agents last saw them",
}
_LABELS = {"mounts": ("mount", "state")}


class _Gauges:
    source: Callable[[], Gauges] | None = None

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for name, value in (self.source() if self.source else {}).items():
            gauge = GaugeMetricFamily(f"dlaas_{name}", GAUGES[name], labels=_LABELS.get(name, ()))
            for labels, figure in value.items() if isinstance(value, Mapping) else [((), value)]:
                gauge.add_metric(labels, figure)
            yield gauge


_metrics: Metrics | None = None


def metrics() -> Metrics:
    """The one set of metrics at `/hub/metrics`; a second hub in the same process (a test) shares it."""
    global _metrics
    if _metrics is None:
        _metrics = Metrics(REGISTRY)
    return _metrics

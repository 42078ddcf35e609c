"""What the service counts, in Prometheus' words. One registry per service, so that tests may have many."""

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import exposition as _exposition

from hutch.model.states import State

CONTENT_TYPE = _exposition.CONTENT_TYPE_LATEST

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, that says when it began

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """Requests by route template (never by path: ids would make a series each), machines by state, commands run."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hutch_http_requests", "Requests answered", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "hutch_http_request_seconds",
            "Time from a request's first byte to its answer's last",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._machines = Gauge("hutch_machines", "Machines by state", ("state",), registry=self._registry)
        self._execs = Counter("hutch_execs", "Commands run in machines", ("kind",), registry=self._registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request has been answered; `route` is its template."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def count_exec(self, kind: str) -> None:
        """One command is run: buffered, streamed or code."""
        self._execs.labels(kind).inc()

    def render(self, machines: Mapping[State, int]) -> bytes:
        """The page a scraper reads, with the machines as they are now."""
        for state in State:
            self._machines.labels(state.value).set(machines.get(state, 0))
        return generate_latest(self._registry)

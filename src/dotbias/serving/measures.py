"""What the service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dotbias.serving.service import Service

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Measures:
    """Counters of requests, and what is read from the service when it is asked.

    Args:
        service: which one.
    """

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "dotbias_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "dotbias_request_seconds",
            "Seconds from a request to its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        read = {
            "generation": ("Number of the model", lambda: service.generation.number),
            "people": ("Users in memory", lambda: len(service.people)),
            "folded": ("Users folded in since the start", lambda: service.people.n_folded),
            "writes_waiting": ("Writes that wait", lambda: service.store.writer.n_waiting),
        }
        for name, (what, value) in read.items():
            Gauge(f"dotbias_{name}", what, registry=self.registry).set_function(value)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

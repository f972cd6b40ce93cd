"""What the service counts, as Prometheus reads it at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters of one service."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        """Begin to count.

        Args:
            waiting: returns how many requests have been let in and are not answered.
        """
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ftkit_requests", "Requests to the model by the status of their answer.", ["status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "ftkit_request_seconds", "From the first byte of an answered request to its answer.",
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.rows = Histogram(
            "ftkit_batch_rows", "Rows that were answered together.",
            buckets=ROWS, registry=self.registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "ftkit_batch_seconds", "Time of a batch, images decoded in it.",
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        gauge = Gauge(
            "ftkit_waiting", "Requests that wait or are answered.", registry=self.registry
        )
        gauge.set_function(waiting)

    def answered(self, status: int, seconds: float) -> None:
        """Count a request to the model."""
        self.requests.labels(str(status)).inc()
        if status == 200:
            self.seconds.observe(seconds)

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch."""
        self.rows.observe(rows)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all counts as Prometheus reads them."""
        return generate_latest(self.registry)

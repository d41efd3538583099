"""Prometheus metrics, one registry per application; every label has a small, fixed set of values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

PREFIX = "inversefacenet"
_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ERROR_BUCKETS = (2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 255.0)
_SHARE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0)


class Metrics:
    """The service's counters and histograms.

    Attributes:
        registry: Holds them all; `render` writes it out.
    """

    def __init__(self) -> None:
        """Create all metrics at zero."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            f"{PREFIX}_requests_total",
            "Requests answered, by route and by outcome: ok, or the code of the problem.",
            ["route", "outcome"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            f"{PREFIX}_request_seconds",
            "Time from a request's first byte to the end of its answer.",
            ["route"],
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            f"{PREFIX}_stage_seconds",
            "Time that a stage of a reconstruction took; queue is the wait for a free worker.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.faces = Counter(f"{PREFIX}_faces_total", "Faces reconstructed.", registry=self.registry)
        self.photometric = Histogram(
            f"{PREFIX}_photometric_error",
            "Photometric error of reconstructed faces, in 8-bit sRGB steps.",
            buckets=_ERROR_BUCKETS,
            registry=self.registry,
        )
        self.iou = Histogram(
            f"{PREFIX}_mask_iou",
            "Intersection over union of input mask and model mask of reconstructed faces.",
            buckets=_SHARE_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            f"{PREFIX}_requests_in_flight", "Requests being answered now.", registry=self.registry
        )
        self.queued = Gauge(
            f"{PREFIX}_queue_length", "Photos waiting for a free worker.", registry=self.registry
        )
        self.busy = Gauge(f"{PREFIX}_workers_busy", "Workers at work on a photo.", registry=self.registry)
        self.ready = Gauge(
            f"{PREFIX}_ready", "1 if the last probe of the backend answered, else 0.", registry=self.registry
        )
        self.model = Gauge(
            f"{PREFIX}_model_info",
            "Always 1; the labels name the network, its digest and the face model.",
            ["name", "digest", "face_model"],
            registry=self.registry,
        )

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request as in flight, however it ends."""
        self.in_flight.inc()
        try:
            yield
        finally:
            self.in_flight.dec()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

"""Prometheus metrics, one registry per service; every label has a small, fixed set of values.

Worker processes keep no counters: what they measure comes back with each answer and is counted here, so that
one scrape sees the whole service however many workers it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "inversefacenet"
REFUSALS = {
    "overloaded": "queue",
    "too-many-uploads": "uploads",
    "quota-exceeded": "quota",
    "unauthenticated": "unauthenticated",
    "body-too-large": "too-large",
    "image-too-large": "too-large",
    "deadline-exceeded": "deadline",
    "draining": "draining",
    "not-ready": "not-ready",
    "backend-unavailable": "not-ready",
}
"""Codes of problems that are refusals, and their causes as the metric names them."""

_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ERROR_BUCKETS = (2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 255.0)
_FACE_BUCKETS = (1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 32.0)
_NME_BUCKETS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3)
_CONFIDENCE_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_SHARE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0)


class _WorkerMemory(Collector):
    """Adds up what the worker processes hold: the front process's own numbers don't show it."""

    def collect(self) -> Iterator[Metric]:
        """Ask the system at each scrape; 0 where it has no /proc or workers are threads."""
        pages = 0
        for listing in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError):  # a thread or a process that has just ended
                for child in listing.read_text().split():
                    pages += int(Path("/proc", child, "statm").read_text().split()[1])
        yield GaugeMetricFamily(
            f"{PREFIX}_worker_memory_bytes",
            "Resident memory of all worker processes.",
            value=pages * os.sysconf("SC_PAGE_SIZE"),
        )


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
        self.registry.register(_WorkerMemory())
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
        self.photos = Counter(
            f"{PREFIX}_photos_total",
            "Photos taken on, by outcome: ok, cancelled, or the code of the problem.",
            ["outcome"],
            registry=self.registry,
        )
        self.refusals = Counter(
            f"{PREFIX}_refusals_total",
            "Requests refused before any work was done, by cause.",
            ["cause"],
            registry=self.registry,
        )
        self.key_photos = Counter(
            f"{PREFIX}_key_photos_total", "Photos charged to an API key.", ["key"], registry=self.registry
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
        self.faces_per_photo = Histogram(
            f"{PREFIX}_faces_per_photo",
            "Faces reconstructed in a photo.",
            buckets=_FACE_BUCKETS,
            registry=self.registry,
        )
        self.landmark = Histogram(
            f"{PREFIX}_landmark_error",
            "Mean landmark distance over the eyes' distance (NME) of reconstructed faces.",
            buckets=_NME_BUCKETS,
            registry=self.registry,
        )
        self.confidence = Histogram(
            f"{PREFIX}_confidence",
            "Confidence in reconstructed faces: probability that they are usable.",
            buckets=_CONFIDENCE_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            f"{PREFIX}_requests_in_flight", "Requests being answered now.", registry=self.registry
        )
        self.queued = Gauge(
            f"{PREFIX}_queue_length", "Photos waiting for a free worker.", registry=self.registry
        )
        self.queue_capacity = Gauge(
            f"{PREFIX}_queue_capacity", "Photos that may wait for a free worker.", registry=self.registry
        )
        self.workers = Gauge(f"{PREFIX}_workers", "Workers that can take photos.", registry=self.registry)
        self.worker_restarts = Counter(
            f"{PREFIX}_worker_restarts_total",
            "Worker processes that were replaced, by cause: crashed or hung.",
            ["cause"],
            registry=self.registry,
        )
        self.busy = Gauge(f"{PREFIX}_workers_busy", "Workers at work on a photo.", registry=self.registry)
        self.ready = Gauge(
            f"{PREFIX}_ready", "1 if the last probe of the backend answered, else 0.", registry=self.registry
        )
        self.draining = Gauge(
            f"{PREFIX}_draining",
            "1 while the service finishes what it accepted and then stops.",
            registry=self.registry,
        )
        self.backend_seconds = Histogram(
            f"{PREFIX}_backend_seconds",
            "Time that a remote inference backend took to answer.",
            ["backend"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.backend_errors = Counter(
            f"{PREFIX}_backend_errors_total",
            "Failed inferences of a remote backend, by the code of the problem.",
            ["backend", "cause"],
            registry=self.registry,
        )
        self.backend_info = Gauge(
            f"{PREFIX}_backend_info",
            "Always 1; the label names the backend.",
            ["backend"],
            registry=self.registry,
        )
        self.model = Gauge(
            f"{PREFIX}_model_info",
            "Always 1; the labels name the network, its digest and the face model.",
            ["name", "digest", "face_model"],
            registry=self.registry,
        )
        # Alerts want to see these at zero, not absent, before the first of them happens.
        for cause in sorted(set(REFUSALS.values())):
            self.refusals.labels(cause)
        for cause in ("crashed", "hung"):
            self.worker_restarts.labels(cause)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request as in flight, however it ends."""
        self.in_flight.inc()
        try:
            yield
        finally:
            self.in_flight.dec()

    def outcome(self, route: str, outcome: str, seconds: float) -> None:
        """Count an answered request.

        Args:
            route: The route's template, or the full name of a gRPC method.
            outcome: 'ok', or the code of the problem.
            seconds: Time to answer.
        """
        self.requests.labels(route, outcome).inc()
        self.request_seconds.labels(route).observe(seconds)
        if outcome in REFUSALS:
            self.refusals.labels(REFUSALS[outcome]).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

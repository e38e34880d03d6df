"""What Prometheus reads of the service."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from service_jobs import RUNNING, WAITING, Videos


class Metrics:
    """Counts, the queue, seconds, and what the workers have loaded."""

    def __init__(self, videos: Videos, replicas: int) -> None:
        self._registry = CollectorRegistry()
        options: Any = {"registry": self._registry}
        self.ended = Counter("opent2v_videos", "Videos that ended, by state.", ["state"], **options)
        self.refused = Counter("opent2v_refused", "Requests that met a limit of the queue.", **options)
        self.seconds = Histogram(
            "opent2v_seconds",
            "Seconds from the start of a run to its end.",
            buckets=(1, 5, 15, 60, 300, 900, 3600),
            **options,
        )
        self.together = Histogram(
            "opent2v_together", "Videos that a run made at once.", buckets=(1, 2, 4, 8, 16), **options
        )
        self.loads = Gauge("opent2v_loads", "Times that a worker has loaded weights.", ["worker"], **options)
        Gauge("opent2v_waiting", "Videos that wait.", **options).set_function(lambda: videos.count(WAITING))
        Gauge("opent2v_running", "Videos that run.", **options).set_function(lambda: videos.count(RUNNING))
        Gauge("opent2v_replicas", "Workers that were asked for.", **options).set(replicas)

    def text(self) -> str:
        return generate_latest(self._registry).decode()

"""The place of all metrics: rooms hand in readers, and who asks gets what they say now, as Prometheus wants it."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

__all__ = ["MEDIA_TYPE", "Metrics", "Reader", "bare_counter", "counter", "gauge"]

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""What `Metrics.text` is."""

Reader: TypeAlias = Callable[[], Iterable[Metric]]
"""Says how things are now; asked on the event loop, so it reads and never waits."""

_TOTAL = "_total"


class Metrics:
    """All of them; a room that counts for itself may put its own counters and histograms on `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)

    def add(self, reader: Reader) -> None:
        """Ask this reader too.

        Raises:
            ValueError: one of its names is taken.
        """
        self.registry.register(_Asked(reader))

    def text(self) -> bytes:
        """What everybody says now."""
        text: bytes = generate_latest(self.registry)
        for metric in self.registry.collect():
            if isinstance(metric, _BareCounter):
                said = f" {metric.name}{_TOTAL} ".encode()
                text = text.replace(said, said.replace(_TOTAL.encode(), b""))
        return text


class _Asked(Collector):
    """A reader, as the library wants it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[Metric]:
        """What it says."""
        yield from self._reader()


class _BareCounter(Metric):
    """A counter whose name does not end in `_total`, as older ones do not; the library writes the ending itself."""


def gauge(name: str, meaning: str, value: float) -> Metric:
    """A number that goes up and down."""
    return GaugeMetricFamily(name, meaning, value=value)


def counter(name: str, meaning: str, value: float) -> Metric:
    """A number that only grows; its name ends in `_total`."""
    return CounterMetricFamily(name, meaning, value=value)


def bare_counter(name: str, meaning: str, value: float) -> Metric:
    """The same under a name that does not."""
    metric = _BareCounter(name, meaning, "counter")
    metric.add_sample(name, {}, value)
    return metric

"""The place of all metrics: rooms hand in readers, and who asks gets what they say now, as Prometheus wants it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]

from enginehouse.telemetry.histograms import Histogram

__all__ = ["MEDIA_TYPE", "HistogramFamily", "Metrics", "Reader", "bare_counter", "counter", "gauge", "written"]

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

    def collect(self) -> list[Metric]:
        """What everybody says now; to be asked on the event loop."""
        return list(self.registry.collect())

    def text(self) -> bytes:
        """The same as `MEDIA_TYPE` has it."""
        return written(self.collect())


def written(metrics: Iterable[Metric]) -> bytes:
    """Metrics in the text format; many take milliseconds, and any thread may do it.

    The library's own writer takes ten times as long, and gives every counter the ending `_total`.
    """
    return "".join(part for metric in metrics for part in _lines(metric)).encode()


def _lines(metric: Metric) -> Iterator[str]:
    name = metric.name
    if metric.type == "counter" and not isinstance(metric, _BareCounter):
        name += _TOTAL
    meaning = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {meaning}\n# TYPE {name} {metric.type}\n"
    for sample in metric.samples:
        labels = ",".join([f'{key}="{_escaped(value)}"' for key, value in sorted(sample.labels.items())])
        yield f"{sample.name}{f'{{{labels}}}' if labels else ''} {floatToGoString(sample.value)}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class _Asked(Collector):
    """A reader, as the library wants it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[Metric]:
        """What it says."""
        yield from self._reader()


class _BareCounter(Metric):
    """A counter whose name does not end in `_total`, as older ones do not; the library writes the ending itself."""


class HistogramFamily(Metric):
    """Histograms of one name; what they hold is copied at once, and written out when somebody writes.

    Args:
        labels: names of the labels.
    """

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._rows: list[tuple[Sequence[str], Sequence[float], tuple[int, ...], float]] = []
        super().__init__(name, meaning, "histogram")

    def add(self, values: Sequence[str], histogram: Histogram) -> None:
        """One more, under these labels; one without values is left out."""
        if any(histogram.counts):
            self._rows.append((values, histogram.bounds, tuple(histogram.counts), histogram.total))

    @property
    def samples(self) -> list[Sample]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the library has them."""
        return [sample for row in self._rows for sample in self._written(*row)]

    @samples.setter
    def samples(self, value: list[Sample]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The library begins with none."""

    def _written(
        self, values: Sequence[str], bounds: Sequence[float], counts: Sequence[int], total: float
    ) -> Iterator[Sample]:
        labels, seen = dict(zip(self._labels, values, strict=True)), 0
        for bound, count in zip((*map(repr, bounds), "+Inf"), counts, strict=True):
            seen += count
            yield Sample(f"{self.name}_bucket", {**labels, "le": bound}, seen)
        yield Sample(f"{self.name}_count", labels, seen)
        yield Sample(f"{self.name}_sum", labels, total)


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

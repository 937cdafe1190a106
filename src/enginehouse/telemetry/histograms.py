"""Histograms of what is counted of requests: many values at once, and nothing is locked."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

__all__ = ["SECONDS", "SHORT", "SPEEDS", "Histogram", "quantile"]

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
"""Upper bounds for what callers wait for."""
SHORT = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds for what should be next to nothing."""
SPEEDS = (1.0, 2.5, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1000.0, 2500.0)
"""Upper bounds for tokens a second."""


class Histogram:
    """How many values fell below which bound. Belongs to the event loop."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, each for itself; the last is of what lies above all bounds."""
        self.total = 0.0
        """All values added up."""

    def note(self, value: float) -> None:
        """One more value; bounds belong to the bucket below them."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def note_all(self, values: list[float]) -> None:
        """Several more; sorted first, they are told from the bounds instead of each from them, which is far less.

        Args:
            values: which are sorted afterwards.
        """
        values.sort()
        seen = 0
        for bucket, bound in enumerate(self.bounds):
            below = bisect_right(values, bound, seen)
            self.counts[bucket] += below - seen
            seen = below
        self.counts[-1] += len(values) - seen
        self.total += sum(values)

    def add(self, others: Sequence["Histogram"]) -> None:
        """All values of others that have the same bounds."""
        self.counts = [sum(bucket) for bucket in zip(self.counts, *(one.counts for one in others), strict=True)]
        self.total += sum([one.total for one in others])

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Bounds and how many values lie at or below them, as Prometheus wants it."""
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            yield repr(bound), seen
        yield "+Inf", seen + self.counts[-1]


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that this share does not exceed, evenly spread inside its bucket; None without values.

    Args:
        counts: by bucket, each for itself, with one bucket more than there are bounds: above the last bound nothing
            is known, and that bound is told.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    seen, low = 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and seen + count >= wanted:
            return low + (bound - low) * (wanted - seen) / count
        seen, low = seen + count, bound
    return low

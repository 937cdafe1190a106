"""A histogram of durations with a bounded relative error, after HdrHistogram (Gil Tene)."""

from math import ceil

from msgspec import Struct

__all__ = ["Histogram", "Spread"]

_BITS = 11
"""Durations below 2**11 ns are kept exactly; above, each octave has 2**10 buckets: an error under 0.05 %."""
_HALF = _BITS - 1


class Spread(Struct, frozen=True, kw_only=True):
    """How durations were distributed, in milliseconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Histogram:
    """Durations in nanoseconds, in logarithmic buckets: recording is cheap and memory does not grow with time."""

    __slots__ = ("_buckets", "_max", "_total", "count")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._total = 0
        self._max = 0
        self.count = 0

    def record(self, duration: int) -> None:
        """Add one duration; a negative one counts as zero."""
        # Comparisons, not min() and max(): this runs for every chunk of every stream.
        if duration < 0:
            duration = 0
        if duration > self._max:
            self._max = duration
        bucket = _bucket(duration)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self._total += duration
        self.count += 1

    def percentile(self, share: float) -> int:
        """Nearest-rank percentile in nanoseconds; `share` is in (0, 1]. Zero when nothing was recorded."""
        rank = ceil(share * self.count)
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return min(_middle(bucket), self._max)
        return 0

    def within(self, duration: int) -> int:
        """How many were no longer than this, in nanoseconds; the bucket that it falls into counts as a whole."""
        last = _bucket(duration)
        return sum(count for bucket, count in self._buckets.items() if bucket <= last)

    def spread(self) -> Spread | None:
        """The distribution in milliseconds, or None when nothing was recorded."""
        if not self.count:
            return None
        return Spread(
            count=self.count,
            mean=self._total / self.count / 1e6,
            p50=self.percentile(0.5) / 1e6,
            p90=self.percentile(0.9) / 1e6,
            p99=self.percentile(0.99) / 1e6,
            p999=self.percentile(0.999) / 1e6,
            max=self._max / 1e6,
        )


def _bucket(duration: int) -> int:
    shift = duration.bit_length() - _BITS
    return duration if shift <= 0 else (shift << _HALF) + (duration >> shift)


def _middle(bucket: int) -> int:
    """The duration in the middle of a bucket: the inverse of what `record` does."""
    shift = max((bucket >> _HALF) - 1, 0)
    lowest = (bucket - (shift << _HALF)) << shift
    return lowest + (1 << shift) // 2

"""When an open-loop request is due: at constant distances, whatever became of the ones before it."""

from msgspec import Struct

__all__ = ["Schedule"]


class Schedule(Struct, frozen=True):
    """Constant arrivals: request n is due at `start + n * interval`, both in nanoseconds."""

    start: int
    interval: int

    @classmethod
    def at_rate(cls, start: int, per_second: float) -> "Schedule":
        """Arrivals at a rate, rounded to whole nanoseconds between two."""
        return cls(start, max(round(1e9 / per_second), 1))

    def time(self, number: int) -> int:
        """When a request is due."""
        return self.start + number * self.interval

    def due(self, now: int) -> int:
        """How many requests are due by now."""
        return max((now - self.start) // self.interval + 1, 0)

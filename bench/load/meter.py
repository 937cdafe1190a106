"""Gathers what the connections saw, within the measured window only."""

import sys
from collections.abc import Iterable

from bench.histogram import Histogram

__all__ = ["Meter"]


class Meter:
    """The measured window, and what happened in it. All times are monotonic nanoseconds.

    A request belongs to the window if it was due in it, a chunk if it arrived in it.
    """

    def __init__(self) -> None:
        self.begin = self.end = sys.maxsize
        self.latency = Histogram()
        self.first = Histogram()
        self.added = Histogram()
        self.failures: dict[str, int] = {}

    def open(self, now: int, warmup: float, seconds: float) -> None:
        """Set the window; until then there is none and nothing counts."""
        self.begin = now + round(warmup * 1e9)
        self.end = self.begin + round(seconds * 1e9)

    def answered(self, due: int, now: int) -> None:
        """An answer is whole and good."""
        if self.begin <= due < self.end:
            self.latency.record(now - due)

    def begun(self, due: int, now: int) -> None:
        """A stream's first chunk is there."""
        if self.begin <= due < self.end:
            self.first.record(now - due)

    def arrived(self, written: Iterable[bytes], now: int) -> None:
        """Chunks are there that the mock wrote at these times."""
        if self.begin <= now < self.end:
            for moment in written:
                self.added.record(now - int(moment))

    def failed(self, due: int, reason: str) -> None:
        """A request has no answer, or a bad one."""
        if self.begin <= due < self.end:
            self.failures[reason] = self.failures.get(reason, 0) + 1

"""What is to happen when: a heap of calls, and the clock that jumps from one to the next."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count

__all__ = ["Agenda"]


class Agenda:
    """Simulated time, in seconds. What is due in one instant happens in the order in which it was put down."""

    def __init__(self) -> None:
        self.now = 0.0
        self._number = count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Something to do then, or now if that is past."""
        heapq.heappush(self._heap, (max(time, self.now), next(self._number), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Something to do in so many seconds."""
        self.at(self.now + seconds, call)

    def run(self) -> Iterator[float]:
        """Do everything in order until nothing is left to do, and tell the time about once a simulated minute."""
        told = self.now
        while self._heap:
            self.now, _, call = heapq.heappop(self._heap)
            call()
            if self.now >= told + 60:
                told = self.now
                yield told

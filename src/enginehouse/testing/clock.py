"""A simulated clock: an event loop whose time jumps to the next timer instead of waiting for it."""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

__all__ = ["simulate"]

T = TypeVar("T")

_PATIENCE = 10.0
"""Real seconds for which a thread may work while nobody else has anything to do."""


class _JumpingSelector(selectors.BaseSelector):
    """Never waits: what would have been a wait moves the clock."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            if woken := self._real.select(_PATIENCE):
                return woken
            raise RuntimeError("deadlock: every task waits, and neither a timer nor a thread will ever wake one")
        self.now += max(timeout, 0.0)
        return self._real.select(0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class _SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in simulated time; an hour of it takes no longer than its callbacks.

    Raises:
        RuntimeError: every task waits for something that cannot happen any more.
    """
    with asyncio.Runner(loop_factory=_SimulatedLoop) as runner:
        return runner.run(main)

"""What is to be done for requests in one turn of the loop: step by step, each for all of them.

All that one request passes through is larger than a processor's nearest caches. Who takes it the whole way alone
finds at every step what the steps before have left there; done for thirty one after the other, a step is brought in
once (`docs/hot-path.md` says what that is worth).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import structlog

__all__ = ["BEGIN", "HEAR", "JOURNAL", "KEEP", "LOOK", "READ", "RECORD", "SETTLE", "STAND", "TELL", "Turn"]

log = structlog.get_logger()
T = TypeVar("T")

# In this order: who has an answer makes room for those who come.
HEAR: Final = 0
"""Take what an engine has answered."""
RECORD: Final = 1
"""Write down what it took."""
JOURNAL: Final = 2
"""Make what was written down durable, of all at once."""
TELL: Final = 3
"""Tell the caller."""
KEEP: Final = 4
"""Keep it for others who ask the same."""
STAND: Final = 5
"""Give connection, slot and lease back."""
SETTLE: Final = 6
"""Let limits and telemetry know."""
READ: Final = 7
"""See who asks what."""
LOOK: Final = 8
"""Look whether the answer is kept."""
BEGIN: Final = 9
"""Take all that it needs, and ask an engine."""
_STEPS: Final = 10


class Turn:
    """Collects what is to be done while the loop tells of what came in, and does it before the loop waits again."""

    __slots__ = ("_is_due", "_loop", "_steps", "_together")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._steps = tuple[list[Callable[[], object]], ...]([] for _ in range(_STEPS))
        self._together: dict[int, list[Any]] = {}
        self._is_due = False

    def at(self, step: int, do: Callable[[], object]) -> None:
        """Do this when it is that step's turn, soon; what it raises is logged.

        Args:
            step: one of this page's.
        """
        self._steps[step].append(do)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def together(self, step: int, one: T, do: Callable[[Sequence[T]], object]) -> None:
        """Do this with all at once that are handed in by then; it is the same for all of a step."""
        waiting = self._together.get(step)
        if waiting is None:
            waiting = self._together[step] = []
            self.at(step, lambda: do(self._together.pop(step)))
        waiting.append(one)

    def _run(self) -> None:
        """Until nothing is left: an answer that is kept is recorded and told after it was looked for."""
        try:
            while any(self._steps):
                for step in self._steps:
                    if step:
                        now = step.copy()
                        step.clear()
                        _do_all(now)
        finally:
            self._is_due = False


def _do_all(now: Sequence[Callable[[], object]]) -> None:
    for do in now:
        try:
            do()
        except Exception:
            whose = getattr(do, "__self__", None)
            log.exception("request_broke", request_id=getattr(whose, "request_id", None))

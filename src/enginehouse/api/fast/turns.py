"""What is to be done for requests in one turn of the loop: step by step, each for all of them.

All that one request passes through is larger than a processor's nearest caches. Who takes it the whole way alone
finds at every step what the steps before have left there; done for thirty one after the other, a step is brought in
once (`docs/hot-path.md` says what that is worth).
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

__all__ = ["BEGIN", "HEAR", "KEEP", "LOOK", "READ", "RECORD", "SETTLE", "STAND", "TELL", "Turn"]

log = structlog.get_logger()

# In this order: who has an answer makes room for those who come.
HEAR: Final = 0
"""Take what an engine has answered."""
RECORD: Final = 1
"""Write down what it took."""
TELL: Final = 2
"""Tell the caller."""
KEEP: Final = 3
"""Keep it for others who ask the same."""
STAND: Final = 4
"""Give connection, slot and lease back."""
SETTLE: Final = 5
"""Let limits and telemetry know."""
READ: Final = 6
"""See who asks what."""
LOOK: Final = 7
"""Look whether the answer is kept."""
BEGIN: Final = 8
"""Take all that it needs, and ask an engine."""
_STEPS: Final = 9


class Turn:
    """Collects what is to be done while the loop tells of what came in, and does it before the loop waits again."""

    __slots__ = ("_is_due", "_loop", "_steps")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._steps = tuple[list[Callable[[], object]], ...]([] for _ in range(_STEPS))
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

    def _run(self) -> None:
        """Until nothing is left: an answer that is kept is recorded and told after it was looked for."""
        waiting = True
        while waiting:
            waiting = False
            for step in self._steps:
                if step:
                    waiting = True
                    now = step.copy()
                    step.clear()
                    for do in now:
                        try:
                            do()
                        except Exception:
                            log.exception("request_broke")
        self._is_due = False

"""What is to be done for requests in one turn of the loop: step by step, each for all of them.

All that one request passes through is larger than a processor's nearest caches. Who takes it the whole way alone
finds at every step what the steps before have left there; done for thirty one after the other, a step is brought in
once (`docs/hot-path.md` says what that is worth).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

__all__ = [
    "BEGIN",
    "HEAR",
    "JOURNAL",
    "KEEP",
    "LOOK",
    "READ",
    "RECORD",
    "SETTLE",
    "STAND",
    "TELL",
    "Step",
    "Turn",
]

Step: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""Does its part for all of these at once; returns those that go on to the next step.

It does not raise: a mistake in one request is logged, and nobody else's business.
"""

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
"""Let limits and telemetry know; the end."""
READ: Final = 7
"""See who asks what."""
LOOK: Final = 8
"""Look whether the answer is kept."""
BEGIN: Final = 9
"""Take all that it needs, and ask an engine, which is going to answer."""
_STEPS: Final = 10
_NEXT: Mapping[int, int] = MappingProxyType(
    {HEAR: RECORD, RECORD: JOURNAL, JOURNAL: TELL, TELL: KEEP, KEEP: STAND, STAND: SETTLE, READ: LOOK, LOOK: BEGIN}
)
"""Where those go on that do."""


class Turn:
    """Collects what is to be done while the loop tells of what came in, and does it before the loop waits again.

    Args:
        steps: what each of this page's does.
    """

    __slots__ = ("_is_due", "_loop", "_steps", "_waiting")

    def __init__(self, steps: Mapping[int, Step]) -> None:
        self._loop = asyncio.get_running_loop()
        self._steps = tuple((step, steps[step], _NEXT.get(step)) for step in range(_STEPS))
        self._waiting: list[list[Any]] = [[] for _ in range(_STEPS)]
        self._is_due = False

    def at(self, step: int, one: object) -> None:
        """Let this one have its part when it is that step's turn, soon."""
        self._waiting[step].append(one)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Until nothing is left: an answer that is kept is recorded and told after it was looked for."""
        waiting = self._waiting
        try:
            while any(waiting):
                for step, do, beyond in self._steps:
                    if waiting[step]:
                        now, waiting[step] = waiting[step], []
                        on = do(now)
                        if beyond is not None:
                            waiting[beyond] += on
        finally:
            self._is_due = False

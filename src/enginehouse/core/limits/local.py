"""A grant that is counted in this process, so that it is taken, settled and undone without waiting."""

from enginehouse.core.limits.grant import Grant
from enginehouse.core.limits.rules import Bounds
from enginehouse.stores.kv import MemoryTallies
from enginehouse.types.ids import random_hex

__all__ = ["LocalGrant"]


class LocalGrant(Grant):
    """From `Limits.take_now`. What a `Grant` does it does as well.

    Args:
        bounds: its caller's limits.
        memory: where they are counted; None when there are none.
    """

    __slots__ = ("_at", "_memory")

    def __init__(self, bounds: Bounds, memory: MemoryTallies | None) -> None:
        super().__init__(random_hex() if bounds.held else "", bounds, memory)
        self._memory = memory
        self._at = 0

    def take_now(self, tokens: int) -> bool:
        """What `take` and `expect` take, in one step; False when something of it is refused, and nothing taken."""
        if self._memory is None:
            return True
        bounds = self._bounds
        expected = tokens if bounds.tokens and tokens > 0 else 0
        taken = self._memory.take_now(self._id, bounds.taken, bounds.held, expected)
        if not taken.admitted:
            return False
        self._standings, self._at = taken.windows, taken.at
        if expected:
            self._reserved.append((taken.at, expected))
        return True

    def settle_now(self, tokens: int) -> None:
        """The request has ended, and so many tokens were read and written: `spent`, then `settle`."""
        if self._memory is None:
            return
        self._spent += max(0, tokens)
        self._memory.settle_now(self._id, self._settled(), self._bounds.seat_keys)

    def undo_now(self) -> None:
        """As though the request had never been."""
        if self._memory is None:
            return
        expected = sum([tokens for _, tokens in self._reserved])
        taken = [(one.key, one.seconds, self._at, one.take or expected, 0) for one in self._bounds.taken]
        self._memory.settle_now(self._id, taken, self._bounds.seat_keys)

"""A grant that is counted in this process, so that it is taken, settled and undone without waiting."""

from itertools import count

from enginehouse.core.limits.grant import Grant
from enginehouse.core.limits.rules import Bounds
from enginehouse.stores.kv import MemoryTallies

__all__ = ["LocalGrant"]

_number = count(1).__next__
"""Names seats that are held: nobody else's here, where those of others are random."""


class LocalGrant(Grant):
    """From `Limits.take_now`. What a `Grant` does it does as well.

    Args:
        bounds: its caller's limits.
        memory: where they are counted; None when there are none.
    """

    __slots__ = ("_account", "_at", "_memory")

    def __init__(self, bounds: Bounds, memory: MemoryTallies | None) -> None:
        super().__init__(str(_number()) if bounds.held else "", bounds, memory)
        self._memory = memory
        self._account = None if memory is None else memory.account(bounds.taken, bounds.held)
        self._at = 0

    def take_now(self, tokens: int) -> bool:
        """What `take` and `expect` take, in one step; False when something of it is refused, and nothing taken."""
        if self._account is None:
            return True
        expected = tokens if self._bounds.tokens and tokens > 0 else 0
        taken = self._account.take(self._id, expected)
        if taken is None:
            return False
        self._at, self._standings = taken
        if expected:
            self._reserved.append((self._at, expected))
        return True

    def settle_now(self, tokens: int) -> None:
        """The request has ended, and so many tokens were read and written: `spent`, then `settle`."""
        if self._memory is None or self._account is None:
            return
        if tokens > 0:
            self._spent += tokens
        if len(self._reserved) > 1:  # it went on by the general way
            self._memory.settle_now(self._id, self._settled(), self._bounds.seat_keys)
            return
        at, expected = self._reserved[0] if self._reserved else (0, 0)
        self._account.settle(self._id, at, expected, self._spent)

    def undo_now(self) -> None:
        """As though the request had never been."""
        if self._memory is None:
            return
        expected = sum([tokens for _, tokens in self._reserved])
        taken = [(one.key, one.seconds, self._at, one.take or expected, 0) for one in self._bounds.taken]
        self._memory.settle_now(self._id, taken, self._bounds.seat_keys)

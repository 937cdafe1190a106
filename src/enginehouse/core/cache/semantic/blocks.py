"""The blocks of vectors that are in memory; until one is, nobody needs numpy for them."""

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enginehouse.core.cache.semantic.block import Block

__all__ = ["Blocks"]


class Blocks:
    """The blocks that are in memory, the longest unused going first.

    Args:
        max_bytes: most that they take together; one that is larger by itself stays alone.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()
        self.size = 0

    def get(self, scope: bytes) -> "Block | None":
        """A scope's block, if it is there."""
        block = self._blocks.get(scope)
        if block is not None:
            self._blocks.move_to_end(scope)
        return block

    def keep(self, scope: bytes, block: "Block") -> None:
        """Keep a block; others may go for it."""
        self.size += block.size
        self._blocks[scope] = block
        while self.size > self._max_bytes and len(self._blocks) > 1:
            _, oldest = self._blocks.popitem(last=False)
            self.size -= oldest.size

    def put(self, scope: bytes, number: int, vector: bytes, scale: float) -> None:
        """Add a row to a scope whose block is in memory."""
        block = self._blocks.pop(scope, None)
        if block is not None:
            self.size -= block.size
            block.put(number, vector, scale)
            self.keep(scope, block)

    def drop(self, scope: bytes, number: int) -> None:
        """Take a row out of a scope whose block is in memory."""
        block = self._blocks.get(scope)
        if block is not None:
            block.drop(number)

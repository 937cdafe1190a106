"""The words of an answer as they come: tokens by their index, in little more room than their text."""

from array import array
from collections.abc import Iterator

__all__ = ["Words"]


class Words:
    """A log of tokens that only grows; a thousand answers at a time keep one each."""

    __slots__ = ("_bytes", "_ends")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("L")

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self._ends)

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return len(self._bytes)

    @property
    def text(self) -> str:
        """All of them."""
        return self._bytes.decode()

    def add(self, token: str) -> None:
        """The next one; half a character, which an engine may say but JSON may not, becomes a question mark."""
        self._bytes += token.encode("utf-8", "replace")
        self._ends.append(len(self._bytes))

    def between(self, first: int, last: int) -> Iterator[str]:
        """Tokens from an index up to another one."""
        begin = self._ends[first - 1] if first else 0
        for end in self._ends[first:last]:
            yield self._bytes[begin:end].decode()
            begin = end

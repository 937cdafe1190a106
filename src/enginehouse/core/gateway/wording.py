"""How one caller's dialect says what is asked and what is answered."""

from collections.abc import Callable, Sequence
from functools import cached_property

from enginehouse.dialects.base import Codec, Head, StreamWriter
from enginehouse.dialects.passing import Passage
from enginehouse.types.answer import Event
from enginehouse.types.generation import Dialect, Generation

__all__ = ["Wording"]


class Wording:
    """One request's two languages: its caller's bytes and our own words.

    Args:
        dialect: which the caller speaks.
        codec: of that dialect.
        head: what the answer says of itself.
        read: the request in our words; called when they are needed, which bytes that pass through do not.
    """

    def __init__(self, dialect: Dialect, codec: Codec, head: Head, read: Callable[[], Generation]) -> None:
        self.dialect = dialect
        self.codec = codec
        self.head = head
        self._read = read

    @cached_property
    def generation(self) -> Generation:
        """What is asked.

        Raises:
            InvalidRequest: the caller's body cannot be understood.
        """
        return self._read()

    def writer(self) -> StreamWriter:
        """For a stream to the caller."""
        return self.codec.writer(self.head)

    def passage(self) -> Passage:
        """For a stream that is in the caller's dialect already."""
        return Passage(self.dialect, self.codec, wants_usage=self.head.wants_usage)

    def whole(self, events: Sequence[Event]) -> bytes:
        """A whole answer for the caller."""
        return self.codec.write_answer(events, self.head)

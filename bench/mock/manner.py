"""How the mock answers: how many chunks, how far apart, after what delay."""

import re

from msgspec import Struct
from msgspec.structs import replace

__all__ = ["HEADERS", "Manner"]


class Manner(Struct, frozen=True, kw_only=True):
    """The manner of one answer.

    It is set by command-line flags and changed for one request by headers or, since many a gateway drops
    headers it does not know, by the model's name: `mock-c64-i5-d50-b8` is 64 chunks, one per 5 ms, the first
    after 50 ms, 8 chunks in a write. Intervals and delays are kept to the millisecond, the loop's resolution.
    """

    chunks: int = 16
    """Content chunks of a stream."""
    interval_ms: float = 0
    """Time between two writes of a stream; 0 is one write per turn of the loop."""
    delay_ms: float = 0
    """Time before the first byte of an answer, headers included."""
    burst: int = 1
    """Chunks in one write."""

    def __post_init__(self) -> None:
        """Refuse what no answer can be.

        Raises:
            ValueError: a number is negative, or a write would be empty.
        """
        if min(self.chunks, self.interval_ms, self.delay_ms) < 0 or self.burst < 1:
            raise ValueError("chunks, interval-ms and delay-ms are 0 or more, burst is 1 or more")

    def named(self, model: str) -> "Manner":
        """This manner, changed by what a model's name says."""
        if not model.startswith("mock-"):
            return self
        said = {_LETTERS[letter]: int(number) for letter, number in _NAME.findall(model)}
        return replace(self, **said)

    def told(self, headers: dict[bytes, bytes]) -> "Manner":
        """This manner, changed by `x-mock-…` headers.

        Raises:
            ValueError: a header's value is not a whole number.
        """
        return replace(self, **{HEADERS[name]: int(value) for name, value in headers.items()})


_LETTERS = {"c": "chunks", "i": "interval_ms", "d": "delay_ms", "b": "burst"}
_NAME = re.compile(r"-([cidb])(\d{1,6})(?=-|$)")

HEADERS = {b"x-mock-" + field.replace("_", "-").encode(): field for field in _LETTERS.values()}
"""Header name in lower case → field of `Manner`."""

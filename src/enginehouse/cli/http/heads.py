"""The head that a caller sends again and again on one connection, and that need not be parsed again.

Programs repeat themselves: from one request to the next only the body differs, and the number that says its length.
A head that the parser has once found right, byte for byte, is right again.
"""

from collections.abc import Sequence

from enginehouse.api.calls import Call

__all__ = ["LONGEST", "KnownHead", "known_head"]

LONGEST = 1024 * 1024
"""Most bytes of a body that is offered."""
_DIGITS = len(str(LONGEST))
_NAME = b"\r\ncontent-length:"
_END = b"\r\n\r\n"


class KnownHead:
    """A head up to the number that is its body's length, and from there on.

    Args:
        before, after: the two parts.
        path: what was asked.
        headers: as they came.
        length: the number, as it came.
    """

    __slots__ = ("_after", "_before", "_headers", "_length", "kept", "path")

    def __init__(
        self, before: bytes, after: bytes, path: str, headers: Sequence[tuple[bytes, bytes]], length: bytes
    ) -> None:
        self._before = before
        self._after = after
        self.path = path
        self._headers = headers
        self._length = length
        self.kept: object = None
        """What a lane has kept of it."""

    def read(self, data: bytes) -> tuple[Sequence[tuple[bytes, bytes]], bytes] | None:
        """Headers and body, if these bytes are this head, with any length, and its whole body, and no more."""
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + _DIGITS + 1)
        length, body = data[start:end], end + len(self._after)
        if not (length.isdigit() and data.startswith(self._after, end)):
            return None
        if not int(length) == len(data) - body <= LONGEST:
            return None
        return self._with(length), data[body:]

    def _with(self, length: bytes) -> Sequence[tuple[bytes, bytes]]:
        if length != self._length:
            told = [(name, length if name == b"content-length" else value) for name, value in self._headers]
            self._headers, self._length = told, length
        return self._headers


def known_head(data: bytes, call: Call) -> KnownHead | None:
    """What to know of a call, if it is all that these bytes are, plainly written."""
    head = data[: data.find(_END) + len(_END)]
    if len(head) + len(call.body) != len(data) or not head.startswith(b"POST "):
        return None
    start = head.lower().find(_NAME) + len(_NAME)
    end = head.find(b"\r", start)
    length = head[start:end].strip(b" \t")
    if not (length.isdigit() and head[:end].endswith(length)):
        return None
    known = KnownHead(head[: end - len(length)], head[end:], call.path, call.headers, length)
    known.kept = call.kept
    return known

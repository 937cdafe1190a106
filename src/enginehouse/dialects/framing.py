"""Frames out of arbitrary chunks: server-sent events and lines of JSON, split wherever the network likes."""

from typing import NamedTuple

from enginehouse.errors import UpstreamDied

__all__ = ["Lines", "Sent", "ServerSentEvents", "sse"]

_MAX_FRAME = 16 * 1024 * 1024
_RETURN = ord("\r")
"""As a number: for bytes, `in` makes an error and forgets it again before it looks for them."""


class Sent(NamedTuple):
    """One server-sent event; `name` is empty when it has none."""

    name: bytes
    data: bytes


class Lines:
    """Lines out of chunks; LF, CRLF and CR end a line."""

    __slots__ = ("_after_cr", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete with this chunk, without their ends.

        Raises:
            UpstreamDied: one line is larger than 16 MiB.
        """
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if _RETURN in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._pieces, lines[0]])
            self._pieces, self._size = [], 0
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
            if self._size > _MAX_FRAME:
                raise UpstreamDied("The engine sent a line larger than 16 MiB.")
        return lines

    @property
    def begun(self) -> bool:
        """Whether what comes next may belong to what has come."""
        return bool(self._pieces) or self._after_cr

    def rest(self) -> bytes:
        """What has come of a line that has no end yet."""
        return b"".join(self._pieces)


class ServerSentEvents:
    """Events out of chunks, as the HTML standard reads them: comments are skipped, `data` lines are joined."""

    __slots__ = ("_data", "_first", "_lines", "_name", "_size", "open")

    def __init__(self) -> None:
        self._lines = Lines()
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._first = True
        self.open = False
        """Whether what comes next may belong to what has come."""

    def feed(self, chunk: bytes) -> list[Sent]:
        """The events that are complete with this chunk.

        Raises:
            UpstreamDied: one event is larger than 16 MiB.
        """
        if not self.open and (usual := _usual(chunk)) is not None:
            self._first = False
            return usual
        events: list[Sent] = []
        for line in self._lines.feed(chunk):
            if self._first:
                line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901 - a byte order mark is no part of it
                self._first = False
            if line:
                self._field(line)
            elif self._data:
                events.append(self._whole())
            else:
                self._name = b""
        self.open = bool(self._name or self._data or self._lines.begun)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
            if self._size > _MAX_FRAME:
                raise UpstreamDied("The engine sent an event larger than 16 MiB.")
        elif name in {b"event", b"error"}:
            # llama.cpp has written errors as a field of their own: `error: {...}`.
            self._name = value if name == b"event" else b"error"
            if name == b"error":
                self._data.append(value)

    def _whole(self) -> Sent:
        event = Sent(self._name, b"\n".join(self._data))
        self._name, self._data, self._size = b"", [], 0
        return event


def _usual(chunk: bytes) -> list[Sent] | None:
    """Whole events of one line of data each, as nearly every engine writes them; None for anything else."""
    if not (chunk.startswith(b"data: ") and chunk.endswith(b"\n\n")) or _RETURN in chunk or len(chunk) > _MAX_FRAME:
        return None
    lines = chunk[6:-2].split(b"\n\ndata: ")
    if chunk.count(b"\n") != 2 * len(lines):  # there are others within them
        return None
    return [Sent(b"", line) for line in lines]


def sse(data: bytes, name: str = "") -> bytes:
    """One event as bytes."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data + b"\n\n"

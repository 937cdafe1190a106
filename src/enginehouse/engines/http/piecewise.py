"""An answer that is told piece by piece, in the very moment in which its bytes come."""

from functools import partial

from enginehouse.engines.base import Hear
from enginehouse.engines.http.incoming import Incoming, Line, said
from enginehouse.engines.http.reply import REFUSED, streamed
from enginehouse.errors import UpstreamDied
from enginehouse.types.chunked import ENDING, OPENINGS

__all__ = ["Piecewise"]

_TYPE = b"\r\ncontent-type:"
_MOST = len(OPENINGS)


class Piecewise(Incoming):
    """One answer; a refusal is gathered.

    Servers send a frame at a time, most often as a chunk of its own. Bytes that are one whole chunk, where a chunk
    has to begin, are told as they came: no parser looks at them, and nobody has to frame them anew.

    Args:
        line: over which it comes.
        hear: told of each piece.
        media_type: what a stream is; nothing else is told.
    """

    def __init__(self, line: Line, hear: Hear, media_type: str) -> None:
        # Told by the parser (httptools) at a chunk's begin and end, without a call of ours.
        self._ended: list[bool] = []
        self.on_chunk_header = partial(self._ended.append, False)
        self.on_chunk_complete = partial(self._ended.append, True)
        super().__init__(line)
        self._hear: Hear | None = hear
        self._media_type = media_type
        self._between = False
        """Whether the next byte begins a chunk that is to be told."""

    def feed(self, data: bytes) -> None:
        """More of it."""
        if self._between and (size := len(data)) < _MOST:
            opening = OPENINGS[size]
            if data.startswith(opening) and data.endswith(ENDING):
                self._tell(data, len(opening))
                return
        self._parse(data)
        if self._hear is None or not self.status:
            self._fed(len(data))
            return
        self._see(data)
        if self._pieces:
            self._tell(self._joined(), 0)
        if self.ended or self.flaw is not None:
            self.wake()

    def done(self) -> None:
        """As `Carried` says."""
        super().done()
        self._hear, self._between = None, False

    def _see(self, data: bytes) -> None:
        """Whether these bytes end where a chunk does; what comes behind one and is none yet has no line's end."""
        if self._ended:
            self._between = self._ended[-1]
            self._ended.clear()
        if not data.endswith(ENDING):
            self._between = False

    def _tell(self, data: bytes, begin: int) -> None:
        assert self._hear is not None, "somebody hears"
        try:
            self._hear(data, begin)
        except Exception as error:  # noqa: BLE001 - it is raised again to whom waits for the end
            self.ended = False
            self.flaw = error
            if self._line is not None:
                self._line.fail(error)

    def _heed(self, head: bytes) -> None:
        """What is told piece by piece is a stream; a refusal is not."""
        if self.status >= REFUSED:
            self._hear = None
        elif said(head, _TYPE).partition(b";")[0].strip() != self._media_type.partition(";")[0].encode():
            try:
                streamed(self, self._media_type)
            except UpstreamDied as error:
                self._refuse(error)

"""Server-sent events as engines write them: whole frames out of arbitrary chunks."""

from collections.abc import AsyncGenerator, AsyncIterator

from enginehouse.errors import UpstreamDied

__all__ = ["data_of", "whole_frames"]

_MAX_FRAME = 16 * 1024 * 1024


async def whole_frames(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Regroup chunks so that each item is one or more complete frames; a rest without its end is dropped.

    Frames are not parsed: a chunk that ends where a frame ends goes through as it came.

    Raises:
        UpstreamDied: one frame is larger than 16 MiB.
    """
    rest = b""
    async for chunk in chunks:
        data = (rest + chunk if rest else chunk).replace(b"\r\n", b"\n")
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            rest = data
        else:
            yield data[:end]
            rest = data[end:]
        if len(rest) > _MAX_FRAME:
            raise UpstreamDied("The engine sent an event larger than 16 MiB.")


def data_of(frame: bytes) -> bytes | None:
    """The payload of one frame (several `data:` lines are joined), or None for a comment or an empty event."""
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None

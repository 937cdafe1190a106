"""What a server answered: its head is in, its body is read as it comes."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from enginehouse.dialects.base import StreamReader
from enginehouse.dialects.errors import read_error
from enginehouse.engines.base import Reply
from enginehouse.errors import UpstreamDied
from enginehouse.types.answer import Event

__all__ = ["MAX_BODY", "REFUSED", "HttpReply", "events_of_stream", "streamed", "taken"]

REFUSED = 400
"""The first status that is a refusal."""
MAX_BODY = 256 * 1024 * 1024
"""Bytes of a whole answer; the longest lists of vectors are not larger."""


class HttpReply(ABC):
    """A reply whose headers are in; satisfies `Reply`."""

    status: int
    """As the server said."""
    prompt_tokens: int | None = None

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """By name, in whatever case they are asked for."""

    @abstractmethod
    def frames(self) -> AsyncIterator[bytes]:
        """Chunks as the socket gave them.

        Raises:
            UpstreamDied: the connection broke before the body's end.
            UpstreamTimeout: nothing came for longer than allowed.
        """

    @abstractmethod
    def leave(self) -> None:
        """Have done with it: the connection may be used again if the body was read whole, else it is cut."""

    def done(self) -> None:
        """Have done with it, for it has said all that its dialect has to say."""
        self.leave()

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamDied: it is larger than 256 MiB, or broke off.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.frames():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY:
                raise UpstreamDied("The engine sent an answer larger than 256 MiB.")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def taken(reply: Reply) -> Reply:
    """The reply, if the server has taken the request.

    Raises:
        InvalidRequest: it refuses, as the caller's fault.
        UpstreamRefused: it refuses for another reason.
    """
    if reply.status >= REFUSED:
        raise read_error(reply.status, reply.headers, await reply.read())
    return reply


def streamed(reply: Reply, media_type: str) -> Reply:
    """The reply, if it is a stream of this media type.

    Raises:
        UpstreamDied: it is something else.
    """
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != media_type.partition(";")[0]:
        raise UpstreamDied(f"The engine was asked for a stream and answered {kind or 'something'} instead.")
    return reply


async def events_of_stream(reply: Reply, reader: StreamReader, media_type: str) -> AsyncGenerator[Event]:
    """The events of a streamed answer; what the server has to say after its end is not read.

    Args:
        media_type: what a stream of this dialect is; the reply may be nothing else.

    Raises:
        UpstreamDied: it is no such stream, or broke off before its end.
    """
    async for chunk in streamed(reply, media_type).frames():
        for event in reader.feed(chunk):
            yield event
        if reader.ended:
            return
    for event in reader.close():
        yield event

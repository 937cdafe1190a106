"""The faces that generate: one route of one dialect each, over one and the same way.

Where the engine speaks the caller's dialect the frames pass through as they are; otherwise they are told anew. The
face does not know which.
"""

import time
from collections.abc import Callable

from msgspec import Struct, structs

from enginehouse.api.attending import Attended
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.wire import Exchange
from enginehouse.core.gateway import Gateway, Wording, patience
from enginehouse.dialects.base import Asked, Codec, Head
from enginehouse.errors import EnginehouseError
from enginehouse.types import Operation
from enginehouse.types.generation import Dialect, Generation
from enginehouse.types.ids import random_hex

__all__ = ["GenerationFace", "Peeked", "head_of"]


class Peeked(Struct, frozen=True, kw_only=True):
    """As much of a request as is needed before it is known whether its bytes pass through."""

    model: str
    stream: bool
    wants_usage: bool = True


class GenerationFace(Face):
    """One route that generates.

    Args:
        gateway: the way of every request.
        dialect: what its callers speak.
        codec: of that dialect.
        operation: what they want done.
        page: what the route says of itself.
        peek: reads what is needed of a body, where that costs less than understanding all of it.
    """

    def __init__(
        self,
        gateway: Gateway,
        dialect: Dialect,
        codec: Codec,
        operation: Operation,
        page: Page,
        peek: Callable[[bytes], Peeked] | None = None,
    ) -> None:
        super().__init__(codec, structs.replace(page, stream=codec.media_type))
        self._gateway = gateway
        self.dialect = dialect
        self.codec = codec
        self._operation = operation
        self._peek = peek

    @property
    def chats(self) -> bool:
        """Whether its requests are conversations, and not texts to be gone on with."""
        return self._operation is Operation.CHAT

    async def handle(self, exchange: Exchange) -> None:
        """Read the request, wait for its answer's first piece, hand on the rest as it comes."""
        body = await exchange.read_body()
        if self._peek is not None:
            peeked = self._peek(body)
            await self._answer(exchange, body, peeked, lambda: self.codec.read_request(body).generation)
        else:
            asked = self.codec.read_request(body)
            if asked.residence is not None:
                await self.reside(exchange, asked)
                return
            await self._answer(exchange, body, _peeked(asked), lambda: asked.generation, asked.generation)

    async def reside(self, exchange: Exchange, asked: Asked) -> None:
        """A request that wants no answer, but a model in memory or out of it; only Ollama's clients do."""
        del exchange, asked
        raise AssertionError("no other dialect has such requests")

    def broken(self, exchange: Exchange, error: EnginehouseError, status: int) -> bytes:
        """The end of a stream that went wrong, as the dialect writes it."""
        return self.codec.writer(head_of(exchange.timings.model or "", wants_usage=False)).fail(error, status)

    async def _answer(
        self,
        exchange: Exchange,
        body: bytes,
        peeked: Peeked,
        read: Callable[[], Generation],
        known: Generation | None = None,
    ) -> None:
        request = request_of(
            exchange, self.dialect.value, self._operation, peeked.model, body, stream=peeked.stream
        )
        head = head_of(peeked.model, wants_usage=peeked.wants_usage, generation=known)
        wording = Wording(self.dialect, self.codec, head, read)
        exchange.media_type = self.codec.media_type
        async with (
            Attended(exchange, streams=peeked.stream),
            patience(request) as limit,
            self._gateway.frames(request, wording) as answering,
        ):
            limit.reschedule(None)
            if peeked.stream:
                async for frames in answering.pieces:
                    await exchange.write(frames)
                whole = b""
            else:
                whole = b"".join([piece async for piece in answering.pieces])
        if peeked.stream:
            await exchange.finish()
        else:
            await exchange.respond(200, whole)


def _peeked(asked: Asked) -> Peeked:
    return Peeked(model=asked.generation.model, stream=asked.stream, wants_usage=asked.wants_usage)


def head_of(model: str, *, wants_usage: bool = True, generation: Generation | None = None) -> Head:
    """A fresh answer's head."""
    return Head(id=random_hex(), model=model, created=time.time(), wants_usage=wants_usage, generation=generation)

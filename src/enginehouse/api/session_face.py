"""Chats of any dialect that go on with a kept conversation: `X-Session-ID` names it, messages are what is new."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Protocol

from msgspec import structs

from enginehouse.api.attending import Attended
from enginehouse.api.faces import Face, request_of
from enginehouse.api.generation import GenerationFace, head_of
from enginehouse.api.wire import Exchange
from enginehouse.core.gateway import Gateway, patience
from enginehouse.core.sessions import Question, Turn
from enginehouse.dialects.base import Asked, Head
from enginehouse.errors import EnginehouseError, InvalidRequest
from enginehouse.types import Operation, Principal, Request, Usage
from enginehouse.types.answer import Counted, Event, Finished
from enginehouse.types.generation import Generation, Role, Text
from enginehouse.types.generation import Turn as Words

__all__ = ["Converses", "SessionFace"]

_HEADER = b"x-session-id"
_SYSTEM = frozenset({Role.SYSTEM, Role.DEVELOPER})


class Converses(Protocol):
    """Where turns of conversations are taken: `core.sessions.Sessions`."""

    def turn(self, principal: Principal, question: Question) -> AbstractAsyncContextManager[Turn]:
        """A turn in a session; inside, the question is durable and the answer is there as `running`."""
        ...


class SessionFace(Face):
    """A face of chats; a request without the header is answered as it is, by the face behind this one.

    Args:
        face: the dialect's own.
        sessions: the conversations.
        gateway: the way of every request.
    """

    def __init__(self, face: GenerationFace, sessions: Converses, gateway: Gateway) -> None:
        super().__init__(face.codec, face.page)
        self._face, self._sessions, self._gateway = face, sessions, gateway

    async def handle(self, exchange: Exchange) -> None:
        """A turn of the session, in the dialect's words."""
        session_id = exchange.header(_HEADER)
        if session_id is None:
            await self._face.handle(exchange)
            return
        body = await exchange.read_body()
        asked = self._face.codec.read_request(body)
        question = _question(asked, session_id, exchange.request_id)
        request = request_of(
            exchange, self._face.dialect.value, Operation.CHAT, asked.generation.model, body, stream=asked.stream
        )
        exchange.media_type = self._face.codec.media_type
        async with (
            Attended(exchange, streams=asked.stream),
            patience(request) as limit,
            AsyncExitStack() as stack,
        ):
            async with self._gateway.before(request):
                turn = await stack.enter_async_context(self._sessions.turn(exchange.principal, question))
            said = _Said(exchange, self._face, asked)
            try:
                async with self._gateway.events(*_in_context(request, asked.generation, turn)) as answering:
                    limit.reschedule(None)
                    async for event in answering.pieces:
                        turn.add(event)
                        await said.hear(event)
            except EnginehouseError:
                if not said.events:  # who was refused will ask again
                    await turn.withdrawn()
                raise
            await turn.answered(usage=said.usage, finish_reason=said.finish)
        await said.end()

    def broken(self, exchange: Exchange, error: EnginehouseError, status: int) -> bytes:
        """The end of a stream that went wrong, as the dialect writes it."""
        return self._face.broken(exchange, error, status)


class _Said:
    """An answer on its way to the caller."""

    def __init__(self, exchange: Exchange, face: GenerationFace, asked: Asked) -> None:
        self._exchange, self._codec, self._stream = exchange, face.codec, asked.stream
        self._head: Head = head_of(
            asked.generation.model, wants_usage=asked.wants_usage, generation=asked.generation
        )
        self._writer = face.codec.writer(self._head)
        self.events: list[Event] = []
        self.usage: Usage | None = None
        self.finish: str | None = None

    async def hear(self, event: Event) -> None:
        """The next event."""
        self.events.append(event)
        if isinstance(event, Counted):
            self.usage = event.usage
        elif isinstance(event, Finished):
            self.finish = event.reason.value
        if self._stream and (frames := self._writer.write(event)):
            await self._exchange.write(frames)

    async def end(self) -> None:
        """The end, once the answer is durable."""
        if not self._stream:
            await self._exchange.respond(200, self._codec.write_answer(self.events, self._head))
            return
        if end := self._writer.close():
            await self._exchange.write(end)
        await self._exchange.finish()


def _question(asked: Asked, session_id: str, request_id: str) -> Question:
    """What is new.

    Raises:
        InvalidRequest: it is no turn of a conversation.
    """
    generation = asked.generation
    if asked.residence is not None or not generation.turns:
        raise InvalidRequest("messages: with X-Session-ID they say what is new; say something.", param="messages")
    if generation.sampling.n != 1:
        raise InvalidRequest("n: a conversation goes on with one answer.", param="n")
    if any(turn.role is Role.ASSISTANT for turn in generation.turns):
        raise InvalidRequest(
            "messages: with X-Session-ID they say what is new; the session has the answers.", param="messages"
        )
    return Question(
        said=tuple(turn for turn in generation.turns if turn.role not in _SYSTEM),
        session_id=session_id,
        model=generation.model,
        system=_system(generation.turns),
        max_tokens=generation.sampling.max_tokens,
        tools=generation.tools,
        request_id=request_id,
    )


def _system(turns: Sequence[Words]) -> str | None:
    told = [part.text for turn in turns if turn.role in _SYSTEM for part in turn.parts if isinstance(part, Text)]
    return "\n\n".join(told) if told else None


def _in_context(request: Request, generation: Generation, turn: Turn) -> tuple[Request, Generation]:
    """With what was said before; what is cached of it goes with the session."""
    caching = structs.replace(request.caching, tags=(*request.caching.tags, turn.session.tag))
    return structs.replace(request, caching=caching), structs.replace(generation, turns=turn.messages)

"""One answer on its way: let in, given its turn in the session, asked of a model, and kept, however it ends."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import MappingProxyType
from typing import Literal, Protocol, TypedDict

from msgspec import Struct, structs

from enginehouse.core.chat.events import Ended, Started, Stopped
from enginehouse.core.chat.live import LiveAnswer
from enginehouse.core.gateway import Answering, Gateway
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.sessions import Question, Status, Turn
from enginehouse.dialects.openai.shapes import reason_of
from enginehouse.errors import EnginehouseError
from enginehouse.types import Caching, Principal, Queueing, Request, Spends, Usage
from enginehouse.types.answer import Event, Finish, Finished, RefusalDelta, TextDelta
from enginehouse.types.generation import Generation, Sampling

__all__ = ["Asked", "Converses", "Giving"]

_CACHES: Mapping[str, Literal["l1", "l2"]] = MappingProxyType({"exact": "l1", "semantic": "l2"})


class Closed(TypedDict):
    """The fields of `events.Closing`."""

    session_id: str
    message_id: str | None
    model: str | None
    text: str
    tokens: int
    usage: Usage | None
    queue_position: int
    seconds: float


class Asked(Struct, frozen=True, kw_only=True):
    """A question in a conversation."""

    request: Request
    """Who asks and how; its model is empty where the session's, or the default, is wanted."""
    session_id: str
    prompt: str
    """Nothing where `parent` is to be answered anew."""
    parent: str | None = None
    """The message to follow; the conversation's end when it is None."""
    system: str | None = None
    """The conversation's system prompt from now on; None leaves it as it is."""
    sampling: Sampling = Sampling()
    admission: AbstractAsyncContextManager[Spends | None]
    """What lets it in: entered before all else, left at its end."""


class Converses(Protocol):
    """Where turns of conversations are taken: `core.sessions.Sessions`."""

    def turn(self, principal: Principal, question: Question) -> AbstractAsyncContextManager[Turn]:
        """A turn in a session; inside, the question is durable and the answer is there as `running`."""
        ...


class Giving:
    """The way of one answer.

    Args:
        asked: the question.
        answer: what its readers read.
        gateway: the way of every request.
        sessions: the conversations.
        queueing: how questions stand in lines.
        most_bytes: of an answer; a longer one is ended there.
    """

    __slots__ = (
        "_answer",
        "_answering",
        "_asked",
        "_began",
        "_finish",
        "_gateway",
        "_most_bytes",
        "_queueing",
        "_sessions",
        "_turn",
        "_whole",
    )

    def __init__(
        self,
        asked: Asked,
        answer: LiveAnswer,
        gateway: Gateway,
        sessions: Converses,
        queueing: Queueing,
        most_bytes: int,
    ) -> None:
        self._asked = asked
        self._answer = answer
        self._gateway = gateway
        self._sessions = sessions
        self._queueing = queueing
        self._most_bytes = most_bytes
        self._began = time.perf_counter()
        self._turn: Turn | None = None
        self._answering: Answering[Event] | None = None
        self._finish: Finish | None = None
        self._whole = False
        """Whether all of it has come: who stops it then comes too late."""

    async def run(self) -> Ended | Stopped:
        """To its end; what has come of it is durable then, and its slot free.

        Raises:
            EnginehouseError: it was refused, or failed; what had come of it is kept.
        """
        async with AsyncExitStack() as stack:
            scope = asyncio.timeout(None)
            try:
                async with scope:
                    with self._answer.writing(scope):
                        await self._ask(stack)
            except TimeoutError:
                if not scope.expired():
                    raise
                if self._whole:
                    return await self._ended()
                return await self._stopped(self._answer.cut or "left")
            except EnginehouseError as error:
                await self._failed(error)
                raise
            return await self._ended()

    async def _ask(self, stack: AsyncExitStack) -> None:
        grant = await stack.enter_async_context(self._asked.admission)
        principal = self._asked.request.principal
        async with self._gateway.before(self._asked.request):
            question = _question(self._asked)
            turn = self._turn = await stack.enter_async_context(self._sessions.turn(principal, question))
        request = structs.replace(
            self._asked.request,
            model=turn.model,
            queueing=self._queueing,
            grant=grant,
            caching=_caching(self._asked.request.caching, turn),
        )
        generation = Generation(model=request.model, turns=turn.messages, sampling=self._asked.sampling)
        async with self._gateway.events(request, generation) as answering:
            self._answering = answering
            self._answer.begin(
                Started(session_id=turn.session.id, message_id=turn.message_id, model=answering.seat.model.id)
            )
            async for event in answering.pieces:
                turn.add(event)
                if self._hear(event):
                    break
            self._whole = True
            self._answer.seal()

    def _hear(self, event: Event) -> bool:
        """Whether that was all that is wanted."""
        match event:
            case TextDelta(text=text, choice=0) | RefusalDelta(text=text, choice=0) if text:
                self._answer.add(text)
            case Finished(reason=reason, choice=0):
                self._finish = reason
            case _:
                pass
        if self._answer.words.size < self._most_bytes:
            return False
        self._finish = Finish.LENGTH
        return True

    async def _ended(self) -> Ended:
        turn, finish = self._turn, self._finish
        assert turn is not None
        record = self._record()
        await turn.answered(usage=self._usage(), finish_reason=finish and reason_of(finish))
        cached = None if record is None else _CACHES.get(record.cache)
        return Ended(**self._closing(), finish=finish, cached=cached)

    async def _stopped(self, cut: Literal["stopped", "left"]) -> Stopped:
        """What came of it is kept; its record says what was generated."""
        if self._turn is not None:
            status = Status.STOPPED if cut == "stopped" else Status.INTERRUPTED
            await self._turn.answered(usage=self._usage(), status=status)
        return Stopped(**self._closing())

    async def _failed(self, error: EnginehouseError) -> None:
        """What was refused before anything came has never been asked."""
        if self._turn is None:
            return
        if self._answering is None:
            await self._turn.withdrawn()
        else:
            await self._turn.answered(usage=self._usage(), status=Status.FAILED, error=error.code)

    def _closing(self) -> Closed:
        turn, answering = self._turn, self._answering
        return {
            "session_id": self._asked.session_id if turn is None else turn.session.id,
            "message_id": None if turn is None else turn.message_id,
            "model": None if answering is None else answering.seat.model.id,
            "text": self._answer.words.text,
            "tokens": len(self._answer.words),
            "usage": self._usage(),
            "queue_position": self._asked.request.timings.stood or 0,
            "seconds": time.perf_counter() - self._began,
        }

    def _record(self) -> UsageRecord | None:
        return None if self._answering is None else self._answering.so_far()

    def _usage(self) -> Usage | None:
        record = self._record()
        return record and Usage(
            input=record.input_tokens,
            cached_input=record.cached_input_tokens,
            output=record.output_tokens,
            reasoning=record.reasoning_tokens,
            estimated=record.estimated,
        )


def _question(asked: Asked) -> Question:
    return Question(
        said=asked.prompt or (),
        parent=asked.parent,
        system=asked.system,
        session_id=asked.session_id,
        model=asked.request.model or None,
        max_tokens=asked.sampling.max_tokens,
        request_id=asked.request.request_id,
    )


def _caching(wanted: Caching, turn: Turn) -> Caching:
    """What is kept goes with its session; who wants another answer is not given the kept one."""
    return structs.replace(wanted, read=wanted.read and bool(turn.asked), tags=(*wanted.tags, turn.session.tag))

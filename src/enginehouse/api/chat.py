"""M0's queued chat: a prompt and a session id in, the answer out, whole or as events with M0's names."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from enginehouse.api.attending import Attended
from enginehouse.api.chat_events import ended_json, error_json, sse, told
from enginehouse.api.dialect import decode
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.wire import Exchange
from enginehouse.core.chat import Answers, Asked, Bell, Ended, Failed, Happening, Reader, Started, Stopped
from enginehouse.core.gateway import Limit, patience
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.errors import EnginehouseError, InvalidRequest, ShuttingDown
from enginehouse.types import Operation
from enginehouse.types.generation import Sampling

__all__ = ["ChatFace", "ChatQuestion", "prompt_of", "sampling_of"]


class ChatQuestion(Struct, kw_only=True):
    """What is asked in a conversation, by whatever way."""

    session_id: Annotated[str, Meta(min_length=1, max_length=128)]
    """A new one begins a conversation."""
    prompt: Annotated[str, Meta(min_length=1)] | None = None
    """What is said; only who gives the `parent` that is to be answered anew says nothing."""
    parent: Annotated[str, Meta(max_length=128)] | None = None
    """The message to follow: an answer, or `root` for none; an edited question follows what the old one followed.
    Without a prompt, the question that is to be answered anew, or one of its answers. The end, when left out."""
    system: str | None = None
    """The conversation's system prompt from now on."""
    model: str | None = None
    """The session's, or the default, when left out."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None


class QueuedChatBody(ChatQuestion, kw_only=True):
    """`POST /api/v1/inference/chat`."""

    stream: bool = False


_body = msgspec.json.Decoder(QueuedChatBody)
_PAGE = Page(
    summary="The answer to a prompt in a conversation that the service keeps; callers are served first come, first "
    "served. `stream: true` answers server-sent events.",
    body=QueuedChatBody,
    tag="conversations",
    stream="text/event-stream",
    refusals={409: "Another request of this conversation is being answered, where these do not wait."},
)


def prompt_of(question: ChatQuestion) -> str:
    """What is said; nothing where the parent is to be answered anew.

    Raises:
        InvalidRequest: nothing is said, and nothing named that could be answered.
    """
    if question.prompt is None and question.parent is None:
        raise InvalidRequest(
            "prompt: it is missing; or name the parent that is to be answered anew.", param="prompt"
        )
    return question.prompt or ""


def sampling_of(question: ChatQuestion) -> Sampling:
    """How the answer shall be drawn."""
    return Sampling(temperature=question.temperature, max_tokens=question.max_tokens)


class ChatFace(Face):
    """`POST /api/v1/inference/chat`.

    Args:
        answers: where answers are given.
    """

    def __init__(self, answers: Answers) -> None:
        super().__init__(OpenAIChat(), _PAGE)
        self._answers = answers

    async def handle(self, exchange: Exchange) -> None:
        """A caller that goes away ends its answer; what was told of it is kept."""
        body = decode(await exchange.read_body(), _body)
        request = request_of(exchange, "chat", Operation.CHAT, body.model or "", stream=body.stream)
        asked = Asked(
            request=request,
            session_id=body.session_id,
            prompt=prompt_of(body),
            parent=body.parent,
            system=body.system,
            sampling=sampling_of(body),
            admission=nullcontext(exchange.grant),
        )
        answer = self._answers.start(asked)
        bell = Bell()
        with answer.read(bell.ring) as reader:
            try:
                async with Attended(exchange, streams=body.stream), patience(request) as limit:
                    end = await _followed(exchange, reader, bell, limit, stream=body.stream)
            except BaseException:
                answer.stop("left")
                await _over(reader, bell)
                raise
        await _finish(exchange, end, stream=body.stream)

    def broken(self, exchange: Exchange, error: EnginehouseError, status: int) -> bytes:
        """The end of a stream that went wrong."""
        del status
        return sse("error", error_json(error, exchange.request_id))


async def _followed(exchange: Exchange, reader: Reader, bell: Bell, limit: Limit, *, stream: bool) -> Ended:
    """Hand on what happens, up to the end of an answer that ends well.

    Raises:
        EnginehouseError: with which it ended.
    """
    async for happening in _happenings(reader, bell):
        match happening:
            case Ended():
                return happening
            case Failed():
                raise happening.error
            case Stopped():
                break
            case Started():
                limit.reschedule(None)
            case _:
                pass
        if stream:
            await exchange.write(sse(*told(happening, exchange.request_id)))
    raise ShuttingDown("The service is shutting down.", retry_after=5)


async def _over(reader: Reader, bell: Bell) -> None:
    """Its slot is free and what came of it is kept."""
    async for _ in _happenings(reader, bell):
        pass


async def _happenings(reader: Reader, bell: Bell) -> AsyncIterator[Happening]:
    while not reader.ended:
        await bell.heard()
        while happened := reader.take():
            for happening in happened:
                yield happening


async def _finish(exchange: Exchange, end: Ended, *, stream: bool) -> None:
    if stream:
        await exchange.write(sse(*told(end, exchange.request_id)) + b"data: [DONE]\n\n")
        await exchange.finish()
    else:
        answer = {"response": end.text, **ended_json(end)}
        await exchange.respond(200, msgspec.json.encode(answer))

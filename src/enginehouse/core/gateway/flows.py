"""An engine's answer on its way to the caller: passed through as it is, told in another dialect, or as events."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, Self, TypeVar, runtime_checkable

import msgspec
from msgspec import structs

from enginehouse.core.cache.answers import Vectors, paced, retold
from enginehouse.core.cache.questions import Question, Told, Written
from enginehouse.core.gateway.meter import Heard, Meter, guessed_tokens
from enginehouse.core.gateway.seats import Seat
from enginehouse.core.gateway.spending import Expected
from enginehouse.core.gateway.wording import Wording
from enginehouse.core.ledger.digests import canonical
from enginehouse.core.ledger.ledger import Entry
from enginehouse.dialects.passing import asking_for_usage, with_defaults
from enginehouse.engines.base import Call, Forwards, Generates, forwards
from enginehouse.engines.http import streamed, taken
from enginehouse.errors import EngineError, InvalidRequest
from enginehouse.types import Deployment, Request
from enginehouse.types.answer import Answer, Event, TextDelta
from enginehouse.types.generation import Dialect, Generation, Part, Role, Sampling, Text, ToolResult

__all__ = ["Cached", "Continues", "Events", "Flow", "Frames", "asked_of"]

T_co = TypeVar("T_co", covariant=True)

_HEAD = 4096
"""Characters of a prompt without turns that count as its beginning; it grows at its end."""


class Flow(Protocol[T_co]):
    """What becomes of an engine's answer."""

    def expected(self) -> Expected:
        """What it may take, before anybody has counted."""
        ...

    def question(self) -> bytes:
        """What is asked, the same bytes for the same question; empty where no repeat of it can be told."""
        ...

    def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[T_co]:
        """Asks the engine and hands on what it answers; the record is durable before the last piece.

        Raises:
            InvalidRequest: the engine cannot be told what is asked, or refuses it as the caller's fault.
            EngineError: it fails, before or within its answer.
        """
        ...


@runtime_checkable
class Continues(Protocol):
    """A flow that may go on with what a server has read before."""

    def head(self) -> bytes:
        """What is the same in each turn of one conversation; empty where it cannot be told."""
        ...


class Cached(Protocol[T_co]):
    """A flow whose answers may be kept, and told again."""

    heard: Heard | None
    """Where what the engine says is noted, for who wants to keep it."""

    def sought(self) -> Question:
        """What is asked, for who looks whether it was asked before."""
        ...

    def retold(self, answer: Answer | Vectors, entry: Entry, pace: float | None) -> AsyncGenerator[T_co]:
        """Hands on a kept answer; the record is durable before the last piece.

        Args:
            answer: what was kept of this kind of request.
            pace: words a second of a stream; None is all at once.
        """
        ...


class Events:
    """The answer in our words.

    Args:
        request: whose.
        generation: what is asked.
    """

    def __init__(self, request: Request, generation: Generation) -> None:
        self.heard: Heard | None = None
        self._request = request
        self._generation = generation

    def expected(self) -> Expected:
        """By what is asked."""
        return expected_of(self._generation)

    def question(self) -> bytes:
        """All of it but for the names of model and user."""
        return msgspec.json.encode(structs.replace(self._generation, model="", user=None), order="sorted")

    def sought(self) -> Question:
        """As it was told."""
        return Told(self._generation)

    async def retold(self, answer: Answer | Vectors, entry: Entry, pace: float | None) -> AsyncGenerator[Event]:
        """Its events."""
        assert isinstance(answer, Answer), "generations have answers"
        events = _told_again(answer, entry)
        await entry.settled()
        async for event in at_pace(events, pace if self._request.stream else None):
            yield event

    def said(self) -> Sequence[str]:
        """What came since the model last spoke."""
        return said_in(self._generation)

    def head(self) -> bytes:
        """Its first turns."""
        return head_of(self._generation)

    async def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[Event]:
        """Every event, as it comes."""
        generation = asked_of(seat.deployment, self._generation)
        async with (
            _Metered(entry, generation, self.heard) as meter,
            _generated(self._request, seat, generation) as events,
        ):
            async for event in events:
                meter.note(event)
                yield event
            meter.complete = True


class Frames:
    """The answer in the caller's own dialect: frames of a stream, or one body.

    Args:
        request: whose.
        wording: that dialect.
    """

    def __init__(self, request: Request, wording: Wording) -> None:
        self.heard: Heard | None = None
        self._request = request
        self._wording = wording

    def expected(self) -> Expected:
        """By what is asked; the body's length where it passes through although we do not understand it."""
        try:
            return expected_of(self._wording.generation)
        except InvalidRequest:
            return Expected(prompt=len(self._request.body) // 4)

    def question(self) -> bytes:
        """The body, in one way of writing it."""
        return canonical(self._request.body)

    def sought(self) -> Question:
        """The body."""
        return Written(self._wording.dialect.value, self._request.body, lambda: self._wording.generation)

    async def retold(self, answer: Answer | Vectors, entry: Entry, pace: float | None) -> AsyncGenerator[bytes]:
        """The frames of a stream, or one body, as the caller's dialect writes them."""
        assert isinstance(answer, Answer), "generations have answers"
        events = _told_again(answer, entry)
        await entry.settled()
        if not self._request.stream:
            yield self._wording.whole(events)
            return
        writer = self._wording.writer()
        if pace is None:
            yield b"".join(map(writer.write, events)) + writer.close()
            return
        async for event in at_pace(events, pace):
            yield writer.write(event)
        yield writer.close()

    def said(self) -> Sequence[str]:
        """What came since the model last spoke; the whole body where it passes through although nobody understands
        it."""
        try:
            return said_in(self._wording.generation)
        except InvalidRequest:
            return [self._request.body.decode("utf-8", "replace")]

    def head(self) -> bytes:
        """Its first turns; nothing where the body passes through although nobody understands it."""
        try:
            return head_of(self._wording.generation)
        except InvalidRequest:
            return b""

    def pieces(self, seat: Seat, entry: Entry) -> AsyncGenerator[bytes]:
        """Frames, or the body; an empty piece stands for life without words."""
        if forwards(seat.engine) and self._wording.dialect in seat.engine.dialects:
            stream = self._request.stream
            return (
                self._passed(seat, entry, seat.engine) if stream else self._passed_whole(seat, entry, seat.engine)
            )
        return self._told(seat, entry) if self._request.stream else self._told_whole(seat, entry)

    async def _passed(self, seat: Seat, entry: Entry, engine: Forwards) -> AsyncGenerator[bytes]:
        call = self._call(seat)
        if not self._wording.head.wants_usage:
            call = structs.replace(call, body=asking_for_usage(call.body))
        passage = self._wording.passage()
        async with _Metered(entry, self._wording, self.heard) as meter, engine.forward(call) as reply:
            async for chunk in streamed(await taken(reply), self._wording.codec.media_type).frames():
                piece, events = passage.feed(chunk)
                meter.prompt = reply.prompt_tokens
                meter.note_all(events)
                if passage.ended:
                    break
                if piece:
                    yield piece
            else:
                piece, events = passage.close()
                meter.note_all(events)
            meter.complete = True
            await meter.settled()
            yield piece

    async def _passed_whole(self, seat: Seat, entry: Entry, engine: Forwards) -> AsyncGenerator[bytes]:
        async with _Metered(entry, self._wording, self.heard) as meter, engine.forward(self._call(seat)) as reply:
            body = await (await taken(reply)).read()
            meter.note_all(self._wording.codec.read_answer(body))
            meter.complete = True
            await meter.settled()
            yield body

    async def _told(self, seat: Seat, entry: Entry) -> AsyncGenerator[bytes]:
        generation = asked_of(seat.deployment, self._wording.generation)
        writer = self._wording.writer()
        async with (
            _Metered(entry, generation, self.heard) as meter,
            _generated(self._request, seat, generation) as events,
        ):
            async for event in events:
                meter.note(event)
                yield writer.write(event)
            meter.complete = True
            end = writer.close()
            await meter.settled()
            yield end

    async def _told_whole(self, seat: Seat, entry: Entry) -> AsyncGenerator[bytes]:
        generation = asked_of(seat.deployment, self._wording.generation)
        told: list[Event] = []
        async with (
            _Metered(entry, generation, self.heard) as meter,
            _generated(self._request, seat, generation) as events,
        ):
            async for event in events:
                meter.note(event)
                told.append(event)
            meter.complete = True
            body = self._wording.whole(told)
            await meter.settled()
            yield body

    def _call(self, seat: Seat) -> Call:
        return Call(
            dialect=self._wording.dialect,
            body=prepared(seat.deployment, self._request, self._wording.dialect),
            stream=self._request.stream,
            request_id=self._request.request_id,
        )


class _Metered(Meter):
    """A meter that writes into a record; however its context ends, the record knows what was generated."""

    def __init__(self, entry: Entry, asked: Generation | Wording, heard: Heard | None) -> None:
        super().__init__()
        self._entry = entry
        self._asked = asked
        self._noted = heard
        if heard is not None:
            heard.begin()
        self._said = entry.said
        if self._said is not None:
            self._said.begin()

    def note_all(self, events: Sequence[Event]) -> None:
        """The next events."""
        super().note_all(events)
        if self._noted is not None:
            self._noted.events.extend(events)
        if self._said is not None:
            for event in events:
                if isinstance(event, TextDelta):
                    self._said.note(event.text)

    async def __aenter__(self) -> Self:
        self._entry.running()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """A refusal costs nothing."""
        if self.heard or not isinstance(error, EngineError | InvalidRequest):
            self.write()

    async def settled(self) -> None:
        """All is counted: make the record durable.

        Raises:
            LedgerUnavailable: it can be kept nowhere.
        """
        self.write()
        await self._entry.settled()

    def write(self) -> None:
        """Let the record know what was taken so far."""
        self._entry.usage = self.usage(self._guess)
        if self._noted is not None:
            self._noted.complete = self.complete

    def _guess(self) -> int:
        """Tokens of the prompt; none for what passed through although we do not understand it."""
        try:
            return guessed_tokens(self._asked if isinstance(self._asked, Generation) else self._asked.generation)
        except InvalidRequest:
            return 0


@asynccontextmanager
async def _generated(request: Request, seat: Seat, generation: Generation) -> AsyncGenerator[AsyncIterator[Event]]:
    if not isinstance(seat.engine, Generates):
        raise InvalidRequest(f"The model {seat.model.id!r} cannot do this.", param="model")
    async with seat.engine.generate(generation, request_id=request.request_id) as events:
        yield events


def _told_again(answer: Answer, entry: Entry) -> Sequence[Event]:
    """The events of a kept answer."""
    events = retold(answer)
    if entry.said is not None:
        for event in events:
            if isinstance(event, TextDelta):
                entry.said.note(event.text)
    return events


async def at_pace(events: Sequence[Event], pace: float | None) -> AsyncGenerator[Event]:
    """Events of a kept answer, so many words a second; all at once without a pace."""
    for event in events if pace is None else paced(events):
        if pace is not None and isinstance(event, TextDelta):
            await asyncio.sleep(1 / pace)
        yield event


def said_in(generation: Generation) -> list[str]:
    """Words of users and results of tools behind the last turn of the model; a prompt is all of it a user's."""
    if generation.prompt is not None:
        return [text for text in generation.prompt.texts if isinstance(text, str)]
    spoken = [place for place, turn in enumerate(generation.turns) if turn.role is Role.ASSISTANT]
    fresh = generation.turns[spoken[-1] + 1 if spoken else 0 :]
    return [
        text
        for turn in fresh
        if turn.role in (Role.USER, Role.TOOL)
        for part in turn.parts
        for text in words_of(part)
    ]


def head_of(generation: Generation) -> bytes:
    """Tools and all turns up to the user's first, which every later turn of a conversation begins with."""
    if generation.prompt is not None:
        return msgspec.json.encode([text[:_HEAD] for text in generation.prompt.texts[:1]])
    asked = next((place for place, turn in enumerate(generation.turns) if turn.role is Role.USER), None)
    if asked is None:
        return b""
    return msgspec.json.encode((generation.tools, generation.turns[: asked + 1]))


def words_of(part: Part) -> Iterator[str]:
    """What can be read of a part."""
    if isinstance(part, Text):
        yield part.text
    elif isinstance(part, ToolResult):
        for inner in part.parts:
            yield from words_of(inner)


def expected_of(generation: Generation) -> Expected:
    """A prompt's likely length, and what the caller says of its answer's."""
    return Expected(prompt=guessed_tokens(generation), answer=generation.sampling.max_tokens)


def asked_of(deployment: Deployment, generation: Generation) -> Generation:
    """With the engine's own name for the model, and parameters nobody gave from the configuration."""
    sampling = generation.sampling
    given = {name: msgspec.json.decode(value) for name, value in deployment.defaults}
    missing = {
        name: value
        for name, value in given.items()
        if name in Sampling.__struct_fields__ and getattr(sampling, name) is None
    }
    return structs.replace(
        generation,
        model=deployment.name_there,
        sampling=structs.replace(sampling, **missing) if missing else sampling,
    )


def prepared(deployment: Deployment, request: Request, dialect: Dialect) -> bytes:
    """The caller's body with what the configuration adds: the engine's name for the model, parameters nobody gave.

    Untouched, to the byte, when there is nothing to add.
    """
    name = request.model if deployment.engine.here else deployment.name_there
    if name == request.model and not deployment.defaults:
        return request.body
    return named(deployment, name, request.body, dialect)


def named(deployment: Deployment, name: str, body: bytes, dialect: Dialect) -> bytes:
    """The body under another name of the model, and with the parameters that nobody gave."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["model"] = msgspec.Raw(msgspec.json.encode(name))
    defaults = {name: msgspec.Raw(value.encode()) for name, value in deployment.defaults}
    return msgspec.json.encode(with_defaults(fields, dialect, defaults))

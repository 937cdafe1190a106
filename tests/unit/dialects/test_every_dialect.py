"""What holds for every dialect alike, as its official client sees it: frames, deltas, any cut of the network."""

import json
import random
from dataclasses import dataclass, field

import httpx
import pytest
from anthropic._streaming import SSEDecoder as AnthropicDecoder
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from ollama import ChatResponse, GenerateResponse
from openai._streaming import SSEDecoder as OpenAIDecoder
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.base import Head
from enginehouse.dialects.ollama.chat import OllamaChat
from enginehouse.dialects.ollama.generate import OllamaGenerate
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.responses import OpenAIResponses
from enginehouse.errors import UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Answer,
    Began,
    Choice,
    Counted,
    Finish,
    Finished,
    TextDelta,
    ThinkingDelta,
    ToolCallBegan,
    ToolCallDelta,
    fold,
)
from enginehouse.types.generation import Text, Thinking, ToolCall
from tests.unit.dialects.test_openai_chat import cut

HEAD = Head(id="1", model="m", created=7)
CHUNKINGS = 20
"""Of each of 50 answers: a thousand a dialect."""


@dataclass
class Said:
    """What a client has made of an answer: words, thoughts, and calls as (name, arguments)."""

    text: str = ""
    thinking: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)

    def all(self):
        return self.text, self.thinking, [(name, json.loads(args or "{}")) for name, args in self.calls.values()]


class Chat:
    codec = OpenAIChat()
    decoder = OpenAIDecoder

    def frame(self, said, name, data):
        for choice in ChatCompletionChunk.model_validate_json(data).choices:
            said.text += choice.delta.content or ""
            said.thinking += getattr(choice.delta, "reasoning_content", "")
            for call in choice.delta.tool_calls or ():
                told = said.calls.setdefault(call.index, ["", ""])
                told[0] += call.function.name or ""
                told[1] += call.function.arguments or ""

    def whole(self, body):
        (choice,) = ChatCompletion.model_validate_json(body).choices
        calls = [[call.function.name, call.function.arguments] for call in choice.message.tool_calls or ()]
        thinking = getattr(choice.message, "reasoning_content", "")
        return Said(choice.message.content or "", thinking, dict(enumerate(calls)))


class Completions:
    codec = OpenAICompletions()
    decoder = OpenAIDecoder

    def frame(self, said, name, data):
        chunk = json.loads(data)
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        said.text += "".join(choice.text for choice in Completion.model_validate(chunk).choices)

    def whole(self, body):
        return Said(Completion.model_validate_json(body).choices[0].text)


class Responses:
    codec = OpenAIResponses()
    decoder = OpenAIDecoder
    event = TypeAdapter(ResponseStreamEvent)

    def frame(self, said, name, data):
        event = self.event.validate_json(data)
        assert event.type == name
        match event.type.removeprefix("response."):
            case "output_text.delta":
                said.text += event.delta
            case "reasoning_text.delta":
                said.thinking += event.delta
            case "output_item.added" if event.item.type == "function_call":
                said.calls[event.output_index] = [event.item.name, event.item.arguments]
            case "function_call_arguments.delta":
                said.calls[event.output_index][1] += event.delta

    def whole(self, body):
        answer = Response.model_validate_json(body)
        said = Said(answer.output_text)
        for place, item in enumerate(answer.output):
            if item.type == "reasoning":
                said.thinking += "".join(part.text for part in item.content)
            if item.type == "function_call":
                said.calls[place] = [item.name, item.arguments]
        return said


class Messages:
    codec = AnthropicMessages()
    decoder = AnthropicDecoder
    event = TypeAdapter(RawMessageStreamEvent)

    def frame(self, said, name, data):
        if name == "ping":
            return
        event = self.event.validate_json(data)
        assert event.type == name
        if event.type == "content_block_start" and event.content_block.type == "tool_use":
            said.calls[event.index] = [event.content_block.name, ""]
        if event.type == "content_block_delta":
            said.text += getattr(event.delta, "text", "")
            said.thinking += getattr(event.delta, "thinking", "")
            if event.delta.type == "input_json_delta":
                said.calls[event.index][1] += event.delta.partial_json

    def whole(self, body):
        said = Said()
        for place, block in enumerate(Message.model_validate_json(body).content):
            said.text += getattr(block, "text", "")
            said.thinking += getattr(block, "thinking", "")
            if block.type == "tool_use":
                said.calls[place] = [block.name, json.dumps(block.input)]
        return said


class Chatting:
    codec = OllamaChat()
    decoder = None

    def frame(self, said, name, data):
        message = ChatResponse.model_validate_json(data).message
        said.text += message.content or ""
        said.thinking += message.thinking or ""
        for call in message.tool_calls or ():
            said.calls[len(said.calls)] = [call.function.name, json.dumps(dict(call.function.arguments))]

    def whole(self, body):
        said = Said()
        self.frame(said, "", body)
        return said


class Generating(Chatting):
    codec = OllamaGenerate()

    def frame(self, said, name, data):
        answer = GenerateResponse.model_validate_json(data)
        said.text += answer.response
        said.thinking += answer.thinking or ""
        for call in json.loads(data).get("tool_calls", ()):
            said.calls[len(said.calls)] = [call["function"]["name"], json.dumps(call["function"]["arguments"])]


CLIENTS = [Chat(), Completions(), Responses(), Messages(), Chatting(), Generating()]
EVERY = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: type(client).__name__)

texts = st.text(min_size=1, max_size=30) | st.just('data: {"a":1}\r\n\r\ndata: [DONE]\n\n🤔 世界 \u2028\u0085')
objects = st.dictionaries(texts, texts | st.integers(-9, 9), max_size=2).map(
    lambda fields: json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
)
calls = st.builds(ToolCall, id=st.uuids().map(str), name=texts, arguments=objects)


@st.composite
def answers(draw):
    thought = draw(st.lists(st.builds(Thinking, text=texts), max_size=1))
    said = draw(st.lists(st.builds(Text, text=texts), max_size=1))
    called = draw(st.lists(calls, max_size=3))
    reason = Finish.TOOL_CALLS if called else draw(st.sampled_from([Finish.STOP, Finish.LENGTH]))
    choice = Choice(parts=(*thought, *said, *called), reason=reason)
    return Answer(id="x", model="m", choices=(choice,), usage=Usage(input=3, output=4))


def sayable(client, answer):
    """Text completions have words, and nothing else."""
    if not isinstance(client, Completions):
        return answer
    (choice,) = answer.choices
    said = tuple(part for part in choice.parts if isinstance(part, Text))
    reason = Finish.STOP if choice.reason is Finish.TOOL_CALLS else choice.reason
    return Answer(id="x", model="m", choices=(Choice(parts=said, reason=reason),), usage=answer.usage)


def pieces(rng, text):
    while text:
        size = rng.choice((1, 2, 5, 20))
        yield text[:size]
        text = text[size:]


def told(rng, answer):
    """The events of an answer, its words cut into deltas anywhere."""
    yield Began(id=answer.id, model=answer.model)
    index = -1
    for part in answer.choices[0].parts:
        match part:
            case Text():
                yield from [TextDelta(text=piece) for piece in pieces(rng, part.text)]
            case Thinking():
                yield from [ThinkingDelta(text=piece) for piece in pieces(rng, part.text)]
            case ToolCall():
                index += 1
                yield ToolCallBegan(index=index, id=part.id, name=part.name)
                yield from [ToolCallDelta(index=index, arguments=piece) for piece in pieces(rng, part.arguments)]
    yield Finished(reason=answer.choices[0].reason)
    yield Counted(usage=answer.usage)


def streamed(client, rng, answer):
    """A stream with a ping here and there."""
    writer = client.codec.writer(HEAD)
    frames = [
        frame for event in told(rng, answer) for frame in (writer.write(event), *[writer.ping()] * rng.randrange(2))
    ]
    return b"".join(frames) + writer.close()


def received(client, chunks):
    """What the official client's own decoder and types make of the bytes."""
    said = Said()
    if client.decoder is None:
        for line in httpx.Response(200, content=iter(chunks)).iter_lines():
            client.frame(said, "", line)
        return said
    for sent in client.decoder().iter_bytes(iter(chunks)):
        if sent.data == "[DONE]":
            break
        client.frame(said, sent.event, sent.data)
    return said


def read(client, chunks):
    reader = client.codec.reader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return fold([*events, *reader.close()])


@EVERY
@settings(max_examples=50, deadline=None)
@given(answer=answers(), seed=st.integers(0, 2**32))
def test_deltas_make_the_whole_answer_wherever_the_network_cuts(client, answer, seed):
    answer, rng = sayable(client, answer), random.Random(seed)
    stream = streamed(client, rng, answer)
    body = client.codec.write_answer(told(rng, answer), HEAD)
    choice = answer.choices[0]
    expected = (
        choice.text(),
        choice.thinking(),
        [(call.name, json.loads(call.arguments)) for call in choice.tool_calls()],
    )
    assert client.whole(body).all() == expected
    assert received(client, [stream]).all() == expected
    first = read(client, [stream])
    assert first.choices == fold(client.codec.read_answer(body)).choices == answer.choices
    for _ in range(CHUNKINGS):
        assert read(client, cut(stream, rng.random())) == first
    assert received(client, cut(stream, seed)).all() == expected


@EVERY
@settings(max_examples=20, deadline=None)
@given(answer=answers(), seed=st.integers(0, 2**32))
def test_a_stream_that_is_cut_off_is_never_taken_for_an_answer(client, answer, seed):
    answer, rng = sayable(client, answer), random.Random(seed)
    writer = client.codec.writer(HEAD)
    events = list(told(rng, answer))
    ends = next(place for place, event in enumerate(events) if isinstance(event, Finished))
    stream = b"".join([writer.write(event) for event in events[: rng.randrange(ends + 1)]])
    with pytest.raises(UpstreamDied):
        writer.close()
    for end in (len(stream), rng.randrange(len(stream) + 1)):
        with pytest.raises(UpstreamDied):
            read(client, cut(stream[:end], seed))

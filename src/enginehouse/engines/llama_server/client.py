"""The client side of a running llama-server, the bundled one or the user's own."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self, cast

import msgspec

from enginehouse.dialects.errors import reported
from enginehouse.dialects.passing import data_of, whole_pieces
from enginehouse.engines.base import Call, Reply
from enginehouse.engines.llama_server.fold import Fold
from enginehouse.engines.llama_server.pulse import Heard, Pulse
from enginehouse.engines.llama_server.tools import Forced, Forcing, forcing_of, knows_tools
from enginehouse.engines.openai import OpenAIServer
from enginehouse.errors import EngineError, InvalidRequest, UpstreamDied
from enginehouse.types.generation import Dialect, Generation

__all__ = ["LlamaServer"]

_Object = dict[str, msgspec.Raw]
_objects = msgspec.json.Decoder(_Object)
_PROMPT = re.compile(rb'"prompt_progress":\{[^}]*"total":(\d+)')
_encode = msgspec.json.encode
_TRUE = msgspec.Raw(b"true")


class LlamaServer(OpenAIServer):
    """A llama-server that answers; satisfies `Engine`, `Forwards`, `Generates`, `Embeds`, `Reranks`,
    `Pulses` and `Tokenizes`.

    Generations are always asked for as streams with progress frames, whatever the caller wants. A llama-server
    learns that its reader has gone only when it writes, and while it reads a long prompt or computes an unstreamed
    answer it writes nothing; the frames give it the occasion, and tell a slow prefill from a wedged engine.
    """

    _tools: bool | None = None
    """Whether the model's template knows tools, once that was asked."""

    async def __aenter__(self) -> Self:
        """Open the connection pool and begin to listen for the engine's pulse."""
        self._pulse = Pulse(asyncio.get_running_loop().time)
        return await super().__aenter__()

    @property
    def silence(self) -> float:
        """Seconds in which it owed tokens or progress and wrote to nobody, since it last wrote anything.

        Embeddings do not count: while they are computed nothing can be written.
        """
        return self._pulse.silence

    @asynccontextmanager
    async def forward(self, call: Call) -> AsyncGenerator[Reply]:
        """Send a call; progress frames are taken out again, an unstreamed answer is folded from its stream.

        Raises:
            InvalidRequest: the caller leaves the call of tools to a model whose chat template knows none.
        """
        if call.dialect is Dialect.OPENAI_EMBEDDINGS:
            async with super().forward(call) as reply:
                yield reply
            return
        fields = _objects.decode(call.body)
        forcing = forcing_of(fields) if call.dialect is Dialect.OPENAI_CHAT else None
        if forcing is not None:
            fields = await self._with_tools(fields, forcing)
        wants_progress = "return_progress" in fields
        fields |= {"stream": _TRUE, "return_progress": _TRUE}
        if not call.stream:
            fields["stream_options"] = msgspec.Raw(b'{"include_usage":true}')
        asked = msgspec.structs.replace(call, body=msgspec.json.encode(fields), stream=True)
        async with AsyncExitStack() as stack:
            with self._pulse:
                reply = await stack.enter_async_context(super().forward(asked))
            heard: Reply = Heard(reply, self._pulse)
            if forcing is not None and forcing.tools and reply.status == 200:
                heard = Forced(heard)
            if reply.status != 200:
                yield heard
            elif call.stream:
                yield heard if wants_progress else _Streamed(heard)
            else:
                yield _Folded(heard)

    def carrier(self, dialect: Dialect) -> None:
        """None: what is asked and what comes is changed on its way."""

    async def _with_tools(self, fields: _Object, forcing: Forcing) -> _Object:
        """The request as it was, where the model may decide and knows how; one for a call, where it may not."""
        if self._tools is None:
            self._tools = await self._knows_tools()
        if forcing.tools:
            return forcing.body(fields, known=self._tools)
        if not self._tools:
            raise InvalidRequest(
                "The chat template of this model knows no tools, so it would not hear of them. Force a call with "
                "tool_choice, give the model a template that knows tools (--chat-template-file among its flags), "
                "or ask one whose capabilities in GET /v1/models name tools.",
                param="tools",
            )
        return fields

    async def _knows_tools(self) -> bool:
        """As the engine says; one that does not say is believed to."""
        try:
            async with self.asked("GET", "/props", timeout=5) as reply:
                return knows_tools(cast("dict[str, Any]", msgspec.json.decode(await reply.read())))
        except (EngineError, InvalidRequest):
            return True

    async def tokenize(self, text: str) -> Sequence[int]:
        """The model's own token ids."""
        answer = await self._ask("POST", "/tokenize", msgspec.json.encode({"content": text}))
        return cast("list[int]", answer["tokens"])

    async def count(self, generation: Generation, *, request_id: str) -> int:
        """Tokens of the prompt, written with the model's own chat template."""
        del request_id  # these routes are the engine's own
        if generation.prompt is not None:
            texts = generation.prompt.texts
            return sum([len(await self.tokenize(text)) if isinstance(text, str) else len(text) for text in texts])
        asked = self._chat.write_request(generation, stream=False)
        written = await self._ask("POST", "/apply-template", asked)
        answer = await self._ask(
            "POST", "/tokenize", _encode({"content": written["prompt"], "parse_special": True})
        )
        return len(cast("list[int]", answer["tokens"]))

    async def healthy(self) -> bool:
        """Whether `/health` answers 200 within five seconds."""
        try:
            async with self.request("GET", "/health", timeout=5) as reply:
                return reply.status == 200
        except EngineError:
            return False

    async def is_ours(self, alias: str) -> bool:
        """Whether the server at this address is the child that was started with our key and this alias.

        A stranger on the port fails one half or the other: it does not take our key, or it takes no key at all.
        """
        async with self.request("GET", "/v1/models", timeout=5, authorized=False) as reply:
            if reply.status not in {401, 403}:
                return False
        async with self.request("GET", "/v1/models", timeout=5) as reply:
            if reply.status != 200:
                return False
            listed = msgspec.json.decode(await reply.read(), type=_Listed)
        return alias in {entry.id for entry in listed.data}

    async def _ask(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        async with self.asked(method, path, body) as reply:
            return cast("dict[str, Any]", msgspec.json.decode(await reply.read()))


class _Entry(msgspec.Struct):
    id: str


class _Listed(msgspec.Struct):
    data: list[_Entry] = []


class _Streamed:
    """A stream without the progress frames that the caller did not ask for."""

    status = 200

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.headers: Mapping[str, str] = reply.headers
        self.prompt_tokens: int | None = None

    async def frames(self) -> AsyncIterator[bytes]:
        """Whole frames; an empty item stands for progress: the engine lives, but has nothing for the caller."""
        async for block in whole_pieces(self._reply.frames()):
            if b'"prompt_progress":' in block:
                told = _PROMPT.search(block)
                self.prompt_tokens = int(told[1]) if told else self.prompt_tokens
                yield _without_progress(block)
            else:
                yield block

    async def read(self) -> bytes:
        """The whole stream as bytes."""
        return b"".join([block async for block in self.frames()])


class _Folded:
    """The answer to an unstreamed call, made of the stream that was asked for instead."""

    status = 200
    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    prompt_tokens: int | None = None

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def frames(self) -> AsyncIterator[bytes]:
        """The body, in one piece."""
        yield await self.read()

    async def read(self) -> bytes:
        """The body.

        Raises:
            UpstreamRefused: the engine reported an error while it generated.
            UpstreamDied: its stream ended without an end.
        """
        fold = Fold()
        async for block in whole_pieces(self._reply.frames()):
            for frame in block.split(b"\n\n"):
                data = data_of(frame)
                if data == b"[DONE]":
                    return fold.body()
                if data is not None:
                    fold.add(_chunk(data))
        raise UpstreamDied("The engine's stream ended without an end.")


def _chunk(data: bytes) -> dict[str, Any]:
    chunk = cast("dict[str, Any]", msgspec.json.decode(data))
    if "error" in chunk:
        raise reported(data)
    chunk.pop("prompt_progress", None)
    return chunk


def _without_progress(block: bytes) -> bytes:
    frames = [frame for frame in block.split(b"\n\n") if frame and b'"prompt_progress":' not in frame]
    return b"".join(frame + b"\n\n" for frame in frames)

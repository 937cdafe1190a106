"""The OpenAI dialect over HTTP: one client for every server that speaks it, here or far away."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import ClassVar

import msgspec
from msgspec import Struct

from enginehouse.dialects.base import Codec
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.shapes import from_engine
from enginehouse.engines.base import Call, Carrier, Embedding, Ranking, Reply
from enginehouse.engines.http import HttpServer, address_of, events_of_stream, taken
from enginehouse.errors import EngineError, UpstreamDied
from enginehouse.types import Deployment
from enginehouse.types.answer import Event
from enginehouse.types.generation import Dialect, Generation

__all__ = ["OpenAIServer", "connect"]

_OPENAI = "api.openai.com"

_PATHS: Mapping[Dialect, str] = {
    Dialect.OPENAI_CHAT: "/v1/chat/completions",
    Dialect.OPENAI_COMPLETIONS: "/v1/completions",
    Dialect.OPENAI_EMBEDDINGS: "/v1/embeddings",
}


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model] = []


class _Vector(Struct):
    embedding: list[float]
    index: int = 0


class _Counted(Struct):
    prompt_tokens: int = 0


class _Vectors(Struct):
    data: list[_Vector]
    usage: _Counted | None = None


class _Scored(Struct):
    index: int
    relevance_score: float


class _Read(Struct):
    prompt_tokens: int | None = None
    total_tokens: int = 0


class _Ranked(Struct):
    results: list[_Scored]
    usage: _Read | None = None


class OpenAIServer(HttpServer):
    """A server at a base URL; satisfies `Engine`, `Forwards`, `Carries`, `Generates`, `Embeds`, `Reranks` and
    `Lists`.

    Args:
        model: what it calls the model, for vectors and scores that are asked for in no dialect.
        extended: whether it knows the words that llama.cpp, vLLM and their like have added to the dialect.
    """

    dialects: ClassVar = frozenset(_PATHS)

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        silence: float,
        connect: float | None = None,
        model: str = "",
        extended: bool = True,
        keep_alive: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            base_url, api_key, silence=silence, connect=connect, keep_alive=keep_alive, headers=headers
        )
        self._model = model
        self._chat = OpenAIChat(extended=extended)

    def forward(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """Send the body as it is; leaving early closes the connection, which tells the server to stop."""
        return self.request("POST", _PATHS[call.dialect], call.body, request_id=call.request_id)

    def carrier(self, dialect: Dialect) -> Carrier | None:
        """What sends requests of a dialect at once, over connections of our own."""
        path = _PATHS.get(dialect)
        return self.carrier_to(path, self._chat.media_type) if path else None

    @asynccontextmanager
    async def generate(self, generation: Generation, *, request_id: str) -> AsyncGenerator[AsyncIterator[Event]]:
        """The events of the answer, always asked for as a stream: a caller who leaves closes the connection."""
        plain = generation.prompt is not None
        codec: Codec = OpenAICompletions() if plain else self._chat
        call = Call(
            dialect=Dialect.OPENAI_COMPLETIONS if plain else Dialect.OPENAI_CHAT,
            body=codec.write_request(generation, stream=True),
            stream=True,
            request_id=request_id,
        )
        async with (
            self.forward(call) as reply,
            aclosing(events_of_stream(await taken(reply), codec.reader(), codec.media_type)) as events,
        ):
            yield events

    async def embed(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> Embedding:
        """One vector a text or list of token ids, in order."""
        body = msgspec.json.encode({"model": self._model, "input": texts})
        async with self.asked("POST", _PATHS[Dialect.OPENAI_EMBEDDINGS], body) as reply:
            answer = from_engine(await reply.read(), _Vectors)
        if len(answer.data) != len(texts):
            raise UpstreamDied(f"The engine sent {len(answer.data)} vectors for {len(texts)} texts.")
        rows = sorted(answer.data, key=lambda row: row.index)
        tokens = answer.usage.prompt_tokens if answer.usage else 0
        return Embedding(vectors=[row.embedding for row in rows], tokens=tokens)

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranking:
        """The scores of its `/v1/rerank`, which llama.cpp, vLLM, Jina and their like have in common."""
        body = msgspec.json.encode({"model": self._model, "query": query, "documents": documents})
        async with self.asked("POST", "/v1/rerank", body) as reply:
            answer = from_engine(await reply.read(), _Ranked)
        scores = {one.index: one.relevance_score for one in answer.results}
        if sorted(scores) != list(range(len(documents))):
            raise UpstreamDied(f"The engine sent {len(answer.results)} scores for {len(documents)} documents.")
        read = answer.usage or _Read()
        tokens = read.total_tokens if read.prompt_tokens is None else read.prompt_tokens
        return Ranking(scores=[scores[index] for index in range(len(documents))], tokens=tokens)

    async def models(self) -> list[str]:
        """The ids of all its models.

        Raises:
            EngineError: it does not tell them.
        """
        async with self.asked("GET", "/v1/models") as reply:
            return [model.id for model in from_engine(await reply.read(), _Models).data]

    async def healthy(self) -> bool:
        """Whether the list of models can be had within five seconds."""
        try:
            async with self.request("GET", "/v1/models", timeout=5) as reply:
                return reply.status == 200
        except EngineError:
            return False


def connect(deployment: Deployment, silence: float) -> OpenAIServer:
    """The server of a deployment.

    Raises:
        ModelLoadFailed: it is not known where it is.
    """
    base_url = address_of(deployment)
    return OpenAIServer(
        base_url,
        deployment.api_key,
        silence=silence,
        connect=deployment.connect_timeout,
        model=deployment.name_there,
        extended=_OPENAI not in base_url,
        headers=dict(deployment.headers),
    )

"""The Ollama face: chat, generate and vectors as Ollama's clients ask for them.

How long a model stays in memory is the service's own decision: of `keep_alive` only 0 (out of memory now, which is
management) and an empty request (into memory) have an effect.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from enginehouse.api.attending import Attended
from enginehouse.api.dialect import decode, shortened
from enginehouse.api.faces import Errors, Face, Page, request_of
from enginehouse.api.generation import GenerationFace, head_of
from enginehouse.api.wire import Exchange
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.gateway import Embedded, Gateway, patience
from enginehouse.core.identity import require_admin
from enginehouse.dialects.base import Asked, Residence
from enginehouse.dialects.ollama.chat import OllamaChat
from enginehouse.dialects.ollama.chat_request import OllamaChatBody
from enginehouse.dialects.ollama.generate import OllamaGenerate
from enginehouse.dialects.ollama.generate_request import OllamaGenerateBody
from enginehouse.errors import InvalidRequest
from enginehouse.types import Model, Operation
from enginehouse.types.generation import Dialect

__all__ = ["Unload", "ollama_faces"]

Unload = Callable[[Model], Awaitable[None]]
"""Takes a model out of memory."""

_NANO = 1_000_000_000


class OllamaEmbedBody(Struct, kw_only=True):
    """`POST /api/embed`."""

    model: str
    input: str | list[str]
    truncate: bool | None = None
    dimensions: int | None = None
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None


class OllamaEmbeddingsBody(Struct, kw_only=True):
    """`POST /api/embeddings`."""

    model: str
    prompt: str
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None


_embed = msgspec.json.Decoder(OllamaEmbedBody)
_old_embed = msgspec.json.Decoder(OllamaEmbeddingsBody)

_CHAT = Page(summary="The next turn of a chat, streamed unless told otherwise.", body=OllamaChatBody, tag="ollama")
_GENERATE = Page(
    summary="What follows a prompt, streamed unless told otherwise.", body=OllamaGenerateBody, tag="ollama"
)
_VECTORS = Page(summary="Vectors of texts.", body=OllamaEmbedBody, tag="ollama")
_VECTOR = Page(summary="The vector of one text.", body=OllamaEmbeddingsBody, tag="ollama")


def ollama_faces(gateway: Gateway, catalogue: Catalogue, unload: Unload) -> Mapping[str, Face]:
    """The hot routes of the dialect, by path.

    Args:
        gateway: the way of every request.
        catalogue: what names mean.
        unload: takes a model out of memory.
    """
    chat, generate = OllamaChat(), OllamaGenerate()
    return {
        "/api/chat": _Face(gateway, catalogue, unload, Dialect.OLLAMA_CHAT, chat, Operation.CHAT, _CHAT),
        "/api/generate": _Face(
            gateway, catalogue, unload, Dialect.OLLAMA_GENERATE, generate, Operation.COMPLETION, _GENERATE
        ),
        "/api/embed": _EmbedFace(gateway, chat, _VECTORS),
        "/api/embeddings": _OldEmbedFace(gateway, chat, _VECTOR),
    }


class _Face(GenerationFace):
    """One route that generates, or moves a model."""

    def __init__(
        self,
        gateway: Gateway,
        catalogue: Catalogue,
        unload: Unload,
        dialect: Dialect,
        codec: OllamaChat | OllamaGenerate,
        operation: Operation,
        page: Page,
    ) -> None:
        super().__init__(gateway, dialect, codec, operation, page)
        self._catalogue = catalogue
        self._unload = unload
        self._words = codec

    async def reside(self, exchange: Exchange, asked: Asked) -> None:
        name = asked.generation.model
        assert asked.residence is not None, "only such requests come here"
        async with Attended(exchange, streams=False):
            if asked.residence is Residence.LOAD:
                await self._gateway.bring_in(request_of(exchange, self.dialect.value, Operation.LOAD, name))
            else:
                require_admin(exchange.principal)
                await self._unload(self._catalogue.resolve(name))
        await exchange.respond(200, self._words.write_residence(asked.residence, head_of(name)))


class _EmbedFace(Face):
    """`POST /api/embed`: one vector a text."""

    def __init__(self, gateway: Gateway, errors: Errors, page: Page) -> None:
        super().__init__(errors, page)
        self._gateway = gateway

    async def handle(self, exchange: Exchange) -> None:
        asked = decode(await exchange.read_body(), _embed)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        embedding = (await self._embedded(exchange, asked.model, texts)).embedding
        if embedding.truncated and asked.truncate is False:
            raise InvalidRequest("A text is longer than the model reads, and `truncate` is false.", param="input")
        phases = exchange.timings
        answer = {
            "model": asked.model,
            "embeddings": [shortened(vector, asked.dimensions) for vector in embedding.vectors],
            "total_duration": _nanoseconds(phases.queue, phases.load, phases.upstream),
            "load_duration": _nanoseconds(phases.load),
            "prompt_eval_count": embedding.tokens,
        }
        await exchange.respond(200, msgspec.json.encode(answer))

    async def _embedded(self, exchange: Exchange, model: str, texts: list[str]) -> Embedded:
        request = request_of(exchange, "ollama.embed", Operation.EMBEDDING, model)
        async with Attended(exchange, streams=False), patience(request):
            return await self._gateway.embed(request, texts)


class _OldEmbedFace(_EmbedFace):
    """`POST /api/embeddings`: the vector of one text."""

    async def handle(self, exchange: Exchange) -> None:
        asked = decode(await exchange.read_body(), _old_embed)
        embedded = await self._embedded(exchange, asked.model, [asked.prompt])
        await exchange.respond(200, msgspec.json.encode({"embedding": list(embedded.embedding.vectors[0])}))


def _nanoseconds(*seconds: float | None) -> int:
    return round(sum(part or 0.0 for part in seconds) * _NANO)

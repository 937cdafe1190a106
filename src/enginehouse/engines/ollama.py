"""A model on an Ollama server, by its native API: answers, vectors, what it can do, and whether it is in memory."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import Any, ClassVar, Self, TypeVar

import msgspec
import structlog
from msgspec import Struct

from enginehouse.dialects.base import Codec
from enginehouse.dialects.framing import Lines
from enginehouse.dialects.ollama.chat import OllamaChat
from enginehouse.dialects.ollama.generate import OllamaGenerate
from enginehouse.dialects.shapes import from_engine
from enginehouse.engines.base import Call, Embedding, Reply
from enginehouse.engines.http import HttpReply, HttpServer, address_of, events_of_stream
from enginehouse.errors import EngineError, EnginehouseError, InvalidRequest, SourceError, UpstreamDied
from enginehouse.types import Deployment, Kind
from enginehouse.types.answer import Event
from enginehouse.types.generation import Dialect, Generation, Json

_PATHS: Mapping[Dialect, str] = {Dialect.OLLAMA_CHAT: "/api/chat", Dialect.OLLAMA_GENERATE: "/api/generate"}
_CHAT: tuple[Dialect, Codec] = (Dialect.OLLAMA_CHAT, OllamaChat())
_GENERATE: tuple[Dialect, Codec] = (Dialect.OLLAMA_GENERATE, OllamaGenerate())

__all__ = ["Details", "Known", "Ollama", "Progress", "Running", "Shown", "connect", "server_of"]

log = structlog.get_logger()

S = TypeVar("S", bound=Struct)


class Details(Struct, frozen=True, kw_only=True):
    """What a model's file says of it."""

    family: str = ""
    parameter_size: str = ""
    """As people write it: `8.0B`."""
    quantization_level: str = ""


class Known(Struct, frozen=True, kw_only=True):
    """A model that lies on the server's disk; `size` is in bytes."""

    name: str
    size: int = 0
    digest: str = ""
    details: Details = Details()


class Running(Struct, frozen=True, kw_only=True):
    """A model that is in memory; sizes are in bytes, `expires_at` is RFC 3339."""

    name: str
    size: int = 0
    size_vram: int = 0
    expires_at: str = ""
    context_length: int | None = None
    """Tokens it was loaded with; older servers do not tell."""


class Shown(Struct, frozen=True, kw_only=True):
    """What a model can do."""

    capabilities: tuple[str, ...] = ()
    """In Ollama's words: completion, tools, vision, thinking, embedding, insert."""
    context_length: int | None = None
    """Tokens the model was made for, whatever it is loaded with."""
    details: Details = Details()


class Progress(Struct, frozen=True, kw_only=True):
    """How far a pull is; the bytes are those of the layer that `digest` names."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


class _Tags(Struct):
    models: list[Known] = []


class _Ps(Struct):
    models: list[Running] = []


class _Show(Struct):
    capabilities: list[str] | None = None
    details: Details = Details()
    model_info: Json | None = None

    def context_length(self) -> int | None:
        info = self.model_info or {}
        length = info.get(f"{info.get('general.architecture')}.context_length")
        return length if isinstance(length, int) else None


class _Embedded(Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int = 0


class _Pulling(Struct):
    status: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0
    error: Any = None


class Ollama:
    """One model of one server; satisfies `Engine`, `Forwards`, `Generates`, `Embeds` and `Lists`.

    Args:
        base_url: root of the server, with or without `/api`.
        api_key: sent as a bearer token, for servers behind a door.
        model: as the server calls it.
        kind: which endpoint loads it.
        silence: seconds without a byte after which the server counts as gone.
    """

    dialects: ClassVar = frozenset(_PATHS)

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        model: str,
        silence: float,
        connect: float | None = None,
        kind: Kind = Kind.CHAT,
    ) -> None:
        root = base_url.rstrip("/").removesuffix("/api")
        self._http = HttpServer(root, api_key, silence=silence, connect=connect)
        self._model = model
        self._kind = kind

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._http.__aexit__()

    @asynccontextmanager
    async def forward(self, call: Call) -> AsyncGenerator[Reply]:
        """Send the body as it is; leaving early closes the connection, which tells the server to stop."""
        async with self._http.request("POST", _PATHS[call.dialect], call.body, request_id=call.request_id) as reply:
            yield reply

    @asynccontextmanager
    async def generate(
        self, generation: Generation, *, request_id: str = ""
    ) -> AsyncGenerator[AsyncIterator[Event]]:
        """An answer as it comes; leaving the context before its end stops the generation.

        Raises:
            InvalidRequest: Ollama cannot be told what is asked, or refuses it.
            EngineError: it refused, died or fell silent, before or within the answer.
        """
        whole = generation.prompt is not None or generation.dialect is Dialect.OLLAMA_GENERATE
        dialect, codec = _GENERATE if whole else _CHAT
        body = codec.write_request(msgspec.structs.replace(generation, model=self._model), stream=True)
        async with (
            self._http.asked("POST", _PATHS[dialect], body, request_id=request_id) as reply,
            aclosing(events_of_stream(reply, codec.reader(), codec.media_type)) as events,
        ):
            yield events

    async def embed(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> Embedding:
        """One vector a text, in order; texts that are too long are cut, and the server does not say which.

        Raises:
            InvalidRequest: token ids, which Ollama does not take.
        """
        if not all(isinstance(text, str) for text in texts):
            raise InvalidRequest("The engine of this model takes texts, not token ids.", param="input")
        answer = await self._call("/api/embed", _Embedded, input=list(texts), truncate=True)
        if len(answer.embeddings) != len(texts):
            raise UpstreamDied(f"The engine sent {len(answer.embeddings)} vectors for {len(texts)} texts.")
        return Embedding(vectors=answer.embeddings, tokens=answer.prompt_eval_count)

    async def tags(self) -> tuple[Known, ...]:
        """All models on the server's disk."""
        return tuple((await self._read("/api/tags", _Tags)).models)

    async def models(self) -> list[str]:
        """The names of these."""
        return [known.name for known in await self.tags()]

    async def ps(self) -> tuple[Running, ...]:
        """All models in the server's memory."""
        return tuple((await self._read("/api/ps", _Ps)).models)

    async def show(self) -> Shown:
        """What this model can do."""
        shown = await self._call("/api/show", _Show)
        return Shown(
            capabilities=tuple(shown.capabilities or ()),
            context_length=shown.context_length(),
            details=shown.details,
        )

    async def pull(self) -> AsyncGenerator[Progress]:
        """Fetch the model onto the server's disk, telling how far it is; closing the iterator stops the pull.

        Raises:
            SourceError: the server could not have it.
            UpstreamDied: the connection ended before the pull did.
        """
        body = msgspec.json.encode({"model": self._model, "stream": True})
        lines, last = Lines(), ""
        async with self._http.asked("POST", "/api/pull", body) as reply:
            async for chunk in reply.frames():
                for line in filter(None, lines.feed(chunk)):
                    progress = self._progress(line)
                    last = progress.status
                    yield progress
        if last != "success":
            raise UpstreamDied("The engine's pull broke off before its end.")

    async def load(self, keep_alive: float | None = None) -> None:
        """Bring the model into memory, for so many seconds after its last use.

        Args:
            keep_alive: infinite for ever; None takes the server's own limit.
        """
        fields: Json = {} if keep_alive is None else {"keep_alive": -1 if math.isinf(keep_alive) else keep_alive}
        if self._kind is Kind.EMBEDDING:
            await self._call("/api/embed", Struct, input=[], **fields)
        else:
            await self._call("/api/generate", Struct, stream=False, **fields)

    async def unload(self) -> None:
        """Let it leave memory as soon as it has no more to do."""
        await self._call("/api/generate", Struct, stream=False, keep_alive=0)

    async def healthy(self) -> bool:
        """Whether the server tells its version within five seconds."""
        try:
            async with self._http.request("GET", "/api/version", timeout=5) as reply:
                return reply.status == 200
        except EngineError:
            return False

    async def _call(self, path: str, kind: type[S], **fields: Any) -> S:
        body = msgspec.json.encode({"model": self._model} | fields)
        return await _whole(self._http.asked("POST", path, body), kind)

    async def _read(self, path: str, kind: type[S]) -> S:
        return await _whole(self._http.asked("GET", path), kind)

    def _progress(self, line: bytes) -> Progress:
        told = from_engine(line, _Pulling)
        if told.error:
            raise SourceError(f"Ollama could not pull {self._model}: {told.error}")
        return Progress(status=told.status, digest=told.digest, total=told.total, completed=told.completed)


def server_of(deployment: Deployment, silence: float) -> Ollama:
    """The server of a deployment, not asked for anything yet.

    Raises:
        ModelLoadFailed: it is not known where it is.
    """
    return Ollama(
        address_of(deployment),
        deployment.api_key,
        model=deployment.name_there,
        kind=deployment.kind,
        silence=silence,
        connect=deployment.connect_timeout,
    )


@asynccontextmanager
async def connect(deployment: Deployment, silence: float) -> AsyncGenerator[Ollama]:
    """The server of a deployment, which brings the model into its memory, and lets go of it in the end.

    Raises:
        ModelLoadFailed: it is not known where it is.
    """
    async with server_of(deployment, silence) as server:
        try:
            await server.load()
        except EnginehouseError as error:
            # A server that is away, or does not have the model, says so to the request itself.
            log.warning("ollama_did_not_load", deployment=deployment.id, error=error.message)
        yield server
        with suppress(EngineError):
            await server.unload()


async def _whole(asked: AbstractAsyncContextManager[HttpReply], kind: type[S]) -> S:
    async with asked as reply:
        return from_engine(await reply.read(), kind)

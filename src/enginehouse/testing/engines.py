"""An engine that answers what it is told to, and a launcher that loads it as slowly or badly as wanted."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.engines.base import Call, Classification, Embedding, Ranking, Reply
from enginehouse.engines.http import taken
from enginehouse.engines.metadata import Weight
from enginehouse.residency.base import Loaded, Watcher
from enginehouse.types import Deployment
from enginehouse.types.answer import Event
from enginehouse.types.generation import Dialect, Generation

__all__ = [
    "WHOLE",
    "FakeClassifier",
    "FakeEmbedder",
    "FakeEngine",
    "FakeGpuLauncher",
    "FakeLauncher",
    "FakeReply",
    "FakeReranker",
]

WHOLE = (
    b'{"id":"x","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1}}'
)
"""A whole answer in OpenAI's dialect."""
_chat = OpenAIChat()


class FakeReply:
    """A reply made of given chunks; an exception among them is raised in its place, a number is a pause."""

    def __init__(
        self, chunks: Sequence[bytes | Exception | float], status: int = 200, *, stream: bool = False
    ) -> None:
        self.status = status
        kind = "text/event-stream" if stream and status == 200 else "application/json"
        self.headers: Mapping[str, str] = {"Content-Type": kind}
        self.prompt_tokens: int | None = None
        self._chunks = chunks

    async def frames(self) -> AsyncIterator[bytes]:
        """The chunks."""
        for chunk in self._chunks:
            match chunk:
                case bytes():
                    yield chunk
                case Exception():
                    raise chunk
                case pause:
                    await asyncio.sleep(pause)

    async def read(self) -> bytes:
        """All of them."""
        return b"".join([chunk async for chunk in self.frames()])


class FakeEngine:
    """Satisfies `Engine`, `Forwards` and `Generates`.

    Args:
        chunks: what a forwarded call answers.
        status: with which status.
    """

    dialects: ClassVar = frozenset({Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS})

    def __init__(self, chunks: Sequence[bytes | Exception | float] = (), *, status: int = 200) -> None:
        self.chunks = chunks
        self.status = status
        self.calls: list[Call] = []
        self.running = 0
        """Calls that have been entered and not left."""
        self.well = True
        self.hesitates = 0.0
        """Seconds it takes to say how it is."""

    async def healthy(self) -> bool:
        """As told."""
        await asyncio.sleep(self.hesitates)
        return self.well

    @asynccontextmanager
    async def forward(self, call: Call) -> AsyncGenerator[Reply]:
        """The prepared answer."""
        self.calls.append(call)
        self.running += 1
        try:
            yield FakeReply(self.chunks, self.status, stream=call.stream)
        finally:
            self.running -= 1

    @asynccontextmanager
    async def generate(self, generation: Generation, *, request_id: str) -> AsyncGenerator[AsyncIterator[Event]]:
        """The same as events."""
        body = _chat.write_request(generation, stream=False)
        call = Call(dialect=Dialect.OPENAI_CHAT, body=body, stream=False, request_id=request_id)
        async with self.forward(call) as reply:
            yield _events(await taken(reply))


async def _events(reply: Reply) -> AsyncIterator[Event]:
    for event in _chat.read_answer(await reply.read()):
        yield event


class FakeEmbedder:
    """Satisfies `Engine` and `Embeds`: the vector of a text is its length and a one, scaled to unit length."""

    async def healthy(self) -> bool:
        """Always."""
        return True

    async def embed(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> Embedding:
        """Vectors of two numbers."""
        vectors = [_unit(float(len(text))) for text in texts]
        return Embedding(vectors=vectors, tokens=sum(len(text) for text in texts))


class FakeClassifier:
    """Satisfies `Engine` and `Classifies`: what says `attack` is one, what says `evil` is a jailbreak.

    Args:
        seconds: how long it takes for a batch.
    """

    labels = ("prompt_injection", "jailbreak", "benign")

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked: list[str] = []
        """Every text, in the order in which it was asked."""

    async def healthy(self) -> bool:
        """Always."""
        return True

    async def classify(self, texts: Sequence[str]) -> Classification:
        """Sure of itself; a text of more than 1,000 characters is not read to its end."""
        await asyncio.sleep(self.seconds)
        self.asked += texts
        return Classification(
            labels=self.labels,
            scores=[_opinion(text) for text in texts],
            tokens=sum(len(text.split()) for text in texts),
            truncated=tuple(index for index, text in enumerate(texts) if len(text) > 1000),
            neutral="benign",
            threshold=0.8,
        )


def _opinion(text: str) -> tuple[float, float, float]:
    if "evil" in text:
        return 0.1, 0.8, 0.1
    return (0.9, 0.05, 0.05) if "attack" in text else (0.02, 0.03, 0.95)


class FakeReranker(FakeEmbedder):
    """Satisfies `Reranks` too: the score of a document is how often the query stands in it."""

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranking:
        """Whole numbers; a token is a character."""
        tokens = sum(len(query) + len(document) for document in documents)
        return Ranking(scores=[float(document.count(query)) for document in documents], tokens=tokens)


class FakeLauncher:
    """Loads a prepared engine.

    Args:
        engine: what becomes resident.
        load_seconds: how long a load takes.
        unload_seconds: how long it takes to go.
        failure: raised at the end of every load, when given.
        weights: bytes by deployment id; nothing when not named.
        pid: the process that is said to be its engine's.
    """

    def __init__(
        self,
        engine: FakeEngine | FakeEmbedder | FakeClassifier | None = None,
        *,
        load_seconds: float = 1.0,
        unload_seconds: float = 0.0,
        failure: Exception | None = None,
        weights: Mapping[str, int] | None = None,
        pid: int | None = None,
    ) -> None:
        self.weights = weights or {}
        self.pid = pid
        self.engine = engine or FakeEngine()
        self.load_seconds = load_seconds
        self.unload_seconds = unload_seconds
        self.failure = failure
        self.loads: list[str] = []
        """Ids in the order their loads began."""
        self.resident: set[str] = set()
        """Ids that are in memory now."""
        self.watchers: dict[str, Watcher] = {}

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """As told."""
        del watcher
        return self.weights.get(deployment.id, 0)

    @asynccontextmanager
    async def load(self, deployment: Deployment, watcher: Watcher) -> AsyncGenerator[Loaded]:
        """Wait, then be resident until the context ends."""
        self.loads.append(deployment.id)
        self.watchers[deployment.id] = watcher
        await asyncio.sleep(self.load_seconds)
        if self.failure:
            raise self.failure
        self.resident.add(deployment.id)
        try:
            yield Loaded(engine=self.engine, pid=self.pid)
        finally:
            await asyncio.sleep(self.unload_seconds)
            self.resident.discard(deployment.id)


class FakeGpuLauncher(FakeLauncher):
    """One whose engines can lie on GPUs, where `offloaded` says what of them does, by deployment id."""

    def __init__(
        self, offloaded: Mapping[str, Weight], *, pid: int | None = None, load_seconds: float = 1.0
    ) -> None:
        weights = {name: weight.total for name, weight in offloaded.items()}
        super().__init__(weights=weights, pid=pid, load_seconds=load_seconds)
        self.offloaded = offloaded
        self.places: dict[str, Mapping[int, int]] = {}
        """Bytes by GPU with which each was last loaded; not there when its flags were to decide."""

    async def offload(self, deployment: Deployment, watcher: Watcher) -> Weight | None:
        """As told."""
        del watcher
        return self.offloaded.get(deployment.id)

    def load_on(
        self, deployment: Deployment, watcher: Watcher, gpus: Mapping[int, int]
    ) -> AbstractAsyncContextManager[Loaded]:
        """Remember where, and load."""
        self.places[deployment.id] = gpus
        return self.load(deployment, watcher)


def _unit(length: float) -> list[float]:
    norm = (length * length + 1) ** 0.5
    return [length / norm, 1 / norm]

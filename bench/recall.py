"""What the cache costs a request: looking for an answer among many, and keeping one."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from time import perf_counter, time

import psutil
from msgspec import Struct

from enginehouse.core.cache.answers import joined, packed
from enginehouse.core.cache.cache import Cache, Worth
from enginehouse.core.cache.questions import Written
from enginehouse.core.cache.rulings import Rulings
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.settings.schema import CacheSettings
from enginehouse.stores.kv import MemoryAnswers
from enginehouse.types import Deployment, EngineName, Kind, Model, Operation, Principal, Request, Timings
from enginehouse.types.answer import Answer, Choice, Finish, TextDelta, fold
from enginehouse.types.cached import Entry
from enginehouse.types.generation import Text

__all__ = ["RecallCost", "recall_costs"]

_MANY_BYTES = 8 * 1024**3
_MODEL = Model(
    id="m",
    kind=Kind.CHAT,
    deployments=(Deployment(id="m", model="m", kind=Kind.CHAT, engine=EngineName.OPENAI),),
)
_ANSWER = Answer(choices=(Choice(parts=(Text(text="word " * 40),), reason=Finish.STOP),))
_codec = OpenAIChat()


class RecallCost(Struct, frozen=True, kw_only=True):
    """What one step takes, in microseconds."""

    name: str
    p50: float
    p95: float
    p99: float
    worst: float


async def recall_costs(entries: int = 1_000_000, times: int = 20_000) -> tuple[list[RecallCost], float]:
    """Each step's cost, and the bytes one entry takes of the process.

    Args:
        entries: answers that are there already.
        times: how often each step is measured.
    """
    settings = CacheSettings(max_bytes=_MANY_BYTES)
    store = MemoryAnswers(settings.max_bytes)
    cache = Cache(store, settings, b"secret of the bench", Rulings())
    rng, process = Random(1), psutil.Process()
    before = process.memory_info().rss
    await _fill(store, entries - times, rng)
    known = [_asked(number) for number in range(times)]
    keeping = [await _kept(cache, request) for request in known]
    taken = (process.memory_info().rss - before) / entries
    rng.shuffle(known)
    unknown = [_asked(-number - 1) for number in range(times)]
    costs = [
        await _measured("a hit: key, look-up, rulings", [partial(_sought, cache, one) for one in known]),
        await _measured("a miss: and what may not be cached", [partial(_sought, cache, one) for one in unknown]),
        _told("keeping an answer", keeping),
        _told("folding a stream of 1,000 words", [_folding() for _ in range(200)]),
    ]
    return costs, taken


async def _fill(store: MemoryAnswers, entries: int, rng: Random) -> None:
    now, answer = time(), packed(_ANSWER)
    for number in range(entries):
        entry = Entry(
            key=rng.randbytes(16),
            answer=answer + b"%d" % number,
            writer="ann",
            model="m",
            asked=now,
            expires=now + 86_400,
        )
        await store.put(entry)


def _asked(number: int) -> Request:
    turns = [{"role": "system", "content": "s" * 400}, {"role": "user", "content": f"{number} " + "u" * 400}]
    return Request(
        operation=Operation.CHAT,
        model="m",
        principal=Principal(user="ann"),
        request_id="r",
        body=json.dumps({"model": "m", "messages": turns, "temperature": 0.2, "max_tokens": 64}).encode(),
        timings=Timings(),
    )


async def _sought(cache: Cache, request: Request) -> None:
    await cache.seek(request, _MODEL, _question(request))


def _question(request: Request) -> Written:
    return Written("openai.chat", request.body, lambda: _codec.read_request(request.body).generation)


async def _kept(cache: Cache, request: Request) -> float:
    """Seconds that keeping takes, beside looking for it."""
    seeking = await cache.seek(request, _MODEL, _question(request))
    began = perf_counter()
    await cache.keep(seeking, _ANSWER, Worth(tokens=9))
    return perf_counter() - began


def _folding() -> float:
    events = [TextDelta(text="word ") for _ in range(1000)]
    began = perf_counter()
    fold(joined(events))
    return perf_counter() - began


async def _measured(name: str, steps: list[Callable[[], Awaitable[None]]]) -> RecallCost:
    took: list[float] = []
    for at, step in enumerate(steps):
        began = perf_counter()
        await step()
        took.append(perf_counter() - began)
        if at % 1000 == 0:
            await asyncio.sleep(0)
    return _told(name, took)


def _told(name: str, took: list[float]) -> RecallCost:
    ordered = [seconds * 1_000_000 for seconds in sorted(took)]
    at = {share: ordered[int(len(ordered) * share)] for share in (0.5, 0.95, 0.99)}
    return RecallCost(name=name, p50=at[0.5], p95=at[0.95], p99=at[0.99], worst=ordered[-1])

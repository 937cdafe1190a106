"""The cache with what goes on beside it: hearing what others rule, sweeping what is over, doing its chores."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import structlog

from enginehouse.core.cache.cache import Cache
from enginehouse.core.cache.rulings import Rulings
from enginehouse.core.cache.sources import KeptRulings, SharedRulings
from enginehouse.core.cache.types import Meaning
from enginehouse.errors import StoreError
from enginehouse.settings.schema import CacheSettings
from enginehouse.stores.kv import MemoryAnswers, RedisAnswers, RedisRulings, RedisStore
from enginehouse.stores.sql import Database

__all__ = ["open_cache"]

log = structlog.get_logger()

_SWEEP = 600.0
"""Seconds after which what is over is swept, if nothing was purged before."""

_WEIGH = 5.0
"""Seconds between two looks at how full the store is."""


@asynccontextmanager
async def open_cache(
    settings: CacheSettings,
    secret: bytes,
    database: Database,
    store: RedisStore | None = None,
    meaning: Meaning | None = None,
) -> AsyncGenerator[Cache]:
    """The cache, while the context lasts.

    Args:
        secret: the service's own.
        database: where rulings are kept for good.
        store: where replicas share answers and hear each other's rulings; without it answers are in this process.
        meaning: finds questions that mean the same.
    """
    longest = max(settings.exact_ttl, settings.semantic_ttl)
    swept = asyncio.Event()
    shared = None if store is None else SharedRulings(RedisRulings(store), longest)
    rulings = Rulings(KeptRulings(database), shared, longest=longest, heard=swept.set)
    answers = MemoryAnswers(settings.max_bytes) if store is None else RedisAnswers(store, settings.max_bytes)
    cache = Cache(answers, settings, secret, rulings, meaning)
    try:
        await rulings.open()
    except StoreError as error:
        log.warning("cache_rulings_not_heard", error=error.message)
    async with asyncio.TaskGroup() as group:
        runs = {
            "cache rulings": rulings.run(),
            "cache chores": cache.chores.run(),
            "cache sweep": _sweep(cache, swept),
            "cache size": _weigh(cache),
        }
        tasks = [group.create_task(run, name=name) for name, run in runs.items()]
        try:
            yield cache
        finally:
            for task in tasks:
                task.cancel()


async def _weigh(cache: Cache) -> None:
    """So that who asks for figures need not wait for the store."""
    while True:
        await cache.weigh()
        await asyncio.sleep(_WEIGH)


async def _sweep(cache: Cache, wanted: asyncio.Event) -> None:
    """What a ruling is about is not served in any case; here it goes for good."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_SWEEP):
                await wanted.wait()
        wanted.clear()
        try:
            await cache.sweep()
        except StoreError as error:
            log.warning("cache_not_swept", error=error.message)
        except Exception:
            log.exception("cache_not_swept")

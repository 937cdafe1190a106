"""The semantic cache, opened with its index."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from enginehouse.core.cache.semantic.feed import shared_with
from enginehouse.core.cache.semantic.index import open_index
from enginehouse.core.cache.semantic.lexicon import read_lists
from enginehouse.core.cache.semantic.mind import Embeds, open_mind
from enginehouse.core.cache.semantic.scorer import shipped
from enginehouse.core.cache.semantic.semantic import Semantic
from enginehouse.settings.schema import SemanticCacheSettings
from enginehouse.stores.kv import Chronicle

__all__ = ["open_semantic"]


@asynccontextmanager
async def open_semantic(
    settings: SemanticCacheSettings,
    folder: Path,
    embed: Embeds,
    *,
    lasting: bool,
    chronicle: Chronicle | None = None,
) -> AsyncGenerator[Semantic]:
    """The semantic cache, while the context lasts.

    Args:
        folder: where its rows are.
        embed: makes vectors with the settings' model.
        lasting: whether the entries outlive this process; else an earlier process's questions are thrown away.
        chronicle: by which replicas tell each other of questions; without it each has its own.
    """
    await asyncio.to_thread(read_lists)
    async with (
        open_index(folder / "questions.db", lasting=lasting, max_bytes=settings.max_bytes) as index,
        open_mind(embed, settings.deadline) as mind,
        nullcontext() if chronicle is None else shared_with(index, chronicle),
    ):
        yield Semantic(index, mind, shipped(), settings)

"""Chooses where collections are, by the settings: a Qdrant server if one is named, else the embedded index."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from enginehouse.errors import SettingsError
from enginehouse.settings.schema import QdrantSettings, Settings
from enginehouse.stores.vectors.base import VectorStore
from enginehouse.stores.vectors.edge.process import IndexProcess
from enginehouse.stores.vectors.edge.store import EdgeStore
from enginehouse.stores.vectors.edge.tuning import Tuning

__all__ = ["open_vectors", "server_url"]

_MOST_THREADS = 8


@asynccontextmanager
async def open_vectors(settings: Settings) -> AsyncGenerator[VectorStore]:
    """The store; neither a server nor the embedded index is asked before it is needed.

    Raises:
        SettingsError: a server is configured, but what speaks to it is not installed.
    """
    url = server_url(settings.qdrant)
    if url is None:
        tuning = Tuning(fsync=settings.vectors.fsync, threads=min(os.cpu_count() or 1, _MOST_THREADS))
        async with IndexProcess(settings.data_dir / "vectors", tuning) as index:
            yield EdgeStore(index)
        return
    try:
        from enginehouse.stores.vectors.server import ServerStore
    except ImportError as error:
        raise SettingsError(
            "qdrant: a server wants the package qdrant-client; install enginehouse[qdrant]."
        ) from error
    key = settings.qdrant.api_key
    async with ServerStore.at(url, key.get_secret_value() if key else None) as server:
        yield server


def server_url(qdrant: QdrantSettings) -> str | None:
    """The server's address; None when none is configured."""
    if qdrant.url:
        return qdrant.url
    if qdrant.host is None:
        return None
    host = f"[{qdrant.host}]" if ":" in qdrant.host else qdrant.host
    return f"{'https' if qdrant.tls else 'http'}://{host}:{qdrant.port}"

"""Launches ONNX models inside this process: a session in memory, its work in worker threads."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from enginehouse.engines.onnx import open_classifier, open_embedder, open_reranker
from enginehouse.residency.base import Loaded, Watcher
from enginehouse.residency.launchers.llama import Files
from enginehouse.types import Deployment, Kind

__all__ = ["OnnxLauncher"]

_UNFOLDED = 5
"""The default embedder, 23 MB of 8-bit weights, takes about 100 MB."""


_OPENED = {Kind.RERANK: open_reranker, Kind.CLASSIFIER: open_classifier}


class OnnxLauncher:
    """Opens embedders, rerankers and classifiers.

    Args:
        files: where model files come from.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    async def weigh(self, deployment: Deployment, watcher: Watcher) -> int:
        """The weights as the runtime unfolds them: 8-bit numbers become 32-bit ones, so this is an upper bound."""
        assert deployment.source is not None, "an onnx deployment has files"
        folder = await self._files.fetch(deployment.source, deployment.sha256, watcher)
        return await asyncio.to_thread(_weights, folder) * _UNFOLDED

    @asynccontextmanager
    async def load(self, deployment: Deployment, watcher: Watcher) -> AsyncGenerator[Loaded]:
        """Fetch and open; leaving frees the session."""
        assert deployment.source is not None, "an onnx deployment has files"
        folder = await self._files.fetch(deployment.source, deployment.sha256, watcher)
        watcher.progressed("opening the session")
        length, workers = deployment.context_length, deployment.slots
        if deployment.kind is Kind.CLASSIFIER:
            workers = 1  # its slots are callers whose texts run together, not runs at once
        opened = _OPENED.get(deployment.kind, open_embedder)
        async with opened(folder, max_length=length, workers=workers) as engine:
            yield Loaded(engine=engine)


def _weights(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.onnx*") if file.is_file())

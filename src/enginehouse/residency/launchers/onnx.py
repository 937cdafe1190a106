"""Launches ONNX models inside this process: a session in memory, its work in worker threads."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from enginehouse.engines.onnx import open_embedder
from enginehouse.residency.base import Loaded, Watcher
from enginehouse.residency.launchers.llama import Files
from enginehouse.types import Deployment

__all__ = ["OnnxLauncher"]


class OnnxLauncher:
    """Opens embedders.

    Args:
        files: where model files come from.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    @asynccontextmanager
    async def load(self, deployment: Deployment, watcher: Watcher) -> AsyncGenerator[Loaded]:
        """Fetch and open; leaving frees the session."""
        assert deployment.source is not None, "an onnx deployment has files"
        folder = await self._files.fetch(deployment.source, deployment.sha256, watcher)
        watcher.progressed("opening the session")
        length, workers = deployment.context_length, deployment.slots
        async with open_embedder(folder, max_length=length, workers=workers) as engine:
            yield Loaded(engine=engine)

"""ONNX models on this machine's processor: embedders, rerankers and classifiers, without torch or transformers.

The runtime is optional (`pip install 'enginehouse[local]'`), so nothing below is imported before it is used.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from enginehouse.engines.onnx.batches import BATCH_TOKENS
from enginehouse.errors import ModelLoadFailed

if TYPE_CHECKING:
    from enginehouse.engines.onnx.classifier import OnnxClassifier
    from enginehouse.engines.onnx.embedder import OnnxEmbedder
    from enginehouse.engines.onnx.reranker import OnnxReranker

__all__ = ["open_classifier", "open_embedder", "open_reranker"]


@asynccontextmanager
async def open_embedder(
    folder: Path, *, threads: int = 1, workers: int = 1, max_length: int | None = None
) -> AsyncGenerator["OnnxEmbedder"]:
    """An embedder that is in memory for as long as the context lasts.

    Args:
        folder: model, tokenizer and, where there are any, their JSON files.
        threads: processor threads of one run.
        workers: runs at once.
        max_length: tokens a text may hold, special tokens included; None takes the folder's own limit.

    Raises:
        ModelLoadFailed: the runtime is not installed, a file is missing or broken, or the model is no embedder.
    """
    embedder_class = await asyncio.to_thread(import_embedder)
    embedder = await embedder_class.load(folder, threads=threads, workers=workers, max_length=max_length)
    try:
        yield embedder
    finally:
        await embedder.close()


@asynccontextmanager
async def open_reranker(
    folder: Path, *, threads: int = 1, workers: int = 1, max_length: int | None = None
) -> AsyncGenerator["OnnxReranker"]:
    """A cross-encoder, as `open_embedder` opens an embedder."""
    reranker_class = await asyncio.to_thread(import_reranker)
    reranker = await asyncio.to_thread(reranker_class.load, folder, threads, workers, max_length)
    try:
        yield reranker
    finally:
        await reranker.close()


@asynccontextmanager
async def open_classifier(
    folder: Path,
    *,
    threads: int = 1,
    workers: int = 1,
    max_length: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> AsyncGenerator["OnnxClassifier"]:
    """A text classifier, as `open_embedder` opens an embedder; `max_length` is that of one window of a text.

    A run has at most `batch_tokens` tokens, padding included, unless one window is longer; with 1 each runs alone.
    """
    classifier_class = await asyncio.to_thread(import_classifier)
    classifier = await asyncio.to_thread(
        classifier_class.load, folder, threads, workers, max_length, batch_tokens=batch_tokens
    )
    try:
        yield classifier
    finally:
        await classifier.close()


def import_embedder() -> type["OnnxEmbedder"]:
    """The class behind the optional packages; the first import takes about half a second.

    Raises:
        ModelLoadFailed: a package is missing.
    """
    with _installed():
        from enginehouse.engines.onnx.embedder import OnnxEmbedder
    return OnnxEmbedder


def import_reranker() -> type["OnnxReranker"]:
    """The same for rerankers."""
    with _installed():
        from enginehouse.engines.onnx.reranker import OnnxReranker
    return OnnxReranker


def import_classifier() -> type["OnnxClassifier"]:
    """The same for classifiers."""
    with _installed():
        from enginehouse.engines.onnx.classifier import OnnxClassifier
    return OnnxClassifier


@contextmanager
def _installed() -> Generator[None]:
    try:
        yield
    except ImportError as error:
        raise ModelLoadFailed(
            f"ONNX models need the package {error.name}; run: pip install 'enginehouse[local]'"
        ) from error

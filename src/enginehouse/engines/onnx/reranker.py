"""The cross-encoder: a query and a document read together, and one score for how well they fit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from enginehouse.engines.base import Ranking
from enginehouse.engines.onnx.batches import plan
from enginehouse.engines.onnx.folder import read_folder
from enginehouse.engines.onnx.memory import return_memory
from enginehouse.engines.onnx.network import Head, open_head
from enginehouse.engines.onnx.pooling import Floats, Ints
from enginehouse.engines.onnx.vocabulary import Pair, Vocabulary
from enginehouse.engines.onnx.workers import Workers, answers
from enginehouse.errors import ModelLoadFailed, UpstreamDied, UpstreamRefused
from enginehouse.types import Kind

__all__ = ["OnnxReranker"]


class OnnxReranker:
    """One cross-encoder in memory: `Reranks` and `Engine` of the base protocols.

    Like the embedder it holds a worker for one batch at a time.
    """

    def __init__(self, vocabulary: Vocabulary, head: Head, *, workers: int = 1) -> None:
        self._vocabulary = vocabulary
        self._head = head
        self._workers = Workers(workers)

    @classmethod
    def load(cls, path: Path, threads: int, workers: int, max_length: int | None) -> "OnnxReranker":
        """Bring a model folder into memory. Blocks for as long as the weights take.

        Raises:
            ModelLoadFailed: a file is missing or broken, or the model does not score pairs.
        """
        folder = read_folder(path)
        if folder.kind is not Kind.RERANK:
            raise ModelLoadFailed(f"{path.name} ranks nothing: its config.json names no head with one label.")
        vocabulary = Vocabulary.load(folder, max_length or folder.max_length)
        reranker = cls(vocabulary, open_head(folder.model, threads=threads).score, workers=workers)
        return_memory()
        try:
            reranker._run(vocabulary.pairs("a", ["a"]))
        except UpstreamRefused as error:
            raise ModelLoadFailed(f"A pair of texts was refused. {error.message}") from error
        return reranker

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranking:
        """One score from 0 to 1 a document, in the caller's order: the logistic function of what the model says.

        Raises:
            InvalidRequest: text that is no Unicode.
        """
        pairs = await self._workers.run(lambda texts: self._vocabulary.pairs(query, texts), documents)
        scores = [0.0] * len(pairs)
        for batch in plan([len(pair.ids) for pair in pairs]):
            rows = await self._workers.run(self._run, [pairs[index] for index in batch])
            for index, row in zip(batch, rows, strict=True):
                scores[index] = row
        return Ranking(
            scores=scores,
            tokens=sum(len(pair.ids) for pair in pairs),
            truncated=tuple(index for index, pair in enumerate(pairs) if pair.truncated),
        )

    async def healthy(self) -> bool:
        """Whether the model answers a short pair."""
        return await answers(self._run, [Pair([self._vocabulary.pad_id], [0], truncated=False)])

    async def close(self) -> None:
        """Let running batches end, then let go of the model's memory."""
        self._head = gone
        await self._workers.close()

    def _run(self, batch: Sequence[Pair]) -> list[float]:
        shape = (len(batch), max(len(pair.ids) for pair in batch))
        ids = np.full(shape, self._vocabulary.pad_id, dtype=np.int64)
        mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, pair in enumerate(batch):
            ids[row, : len(pair.ids)] = pair.ids
            types[row, : len(pair.ids)] = pair.types
            mask[row, : len(pair.ids)] = 1
        return logistic(self._head(ids, mask, types)[:, 0]).tolist()


def logistic(scores: Floats) -> Floats:
    """From any number to one between 0 and 1; written so that nothing overflows."""
    return (0.5 * (1 + np.tanh(0.5 * scores))).astype(np.float32)


def gone(_ids: Ints, _mask: Ints, _types: Ints) -> Floats:
    """What is left of a closed reranker."""
    raise UpstreamDied("The model has left memory.")

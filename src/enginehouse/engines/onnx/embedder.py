"""The embedder: texts to unit vectors, in worker threads, a small batch at a time."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from enginehouse.engines.base import Embedding
from enginehouse.engines.onnx.batches import plan
from enginehouse.engines.onnx.folder import read_folder
from enginehouse.engines.onnx.memory import return_memory
from enginehouse.engines.onnx.network import Network, open_network
from enginehouse.engines.onnx.pooling import Floats, Ints
from enginehouse.engines.onnx.vocabulary import Text, Vocabulary
from enginehouse.engines.onnx.workers import Workers, answers
from enginehouse.errors import ModelLoadFailed, UpstreamDied, UpstreamRefused

__all__ = ["OnnxEmbedder"]


class OnnxEmbedder:
    """One ONNX embedding model in memory: `Embeds`, `Tokenizes` and `Engine` of the base protocols.

    At most `workers` batches run at once. A caller holds a worker for one batch at a time, so a large request
    does not keep small ones waiting, and one that was given up stops at its next batch.
    """

    def __init__(self, vocabulary: Vocabulary, network: Network, *, workers: int = 1) -> None:
        self._vocabulary = vocabulary
        self._network = network
        self._workers = Workers(workers)

    @classmethod
    async def load(
        cls, folder: Path, *, threads: int = 1, workers: int = 1, max_length: int | None = None
    ) -> "OnnxEmbedder":
        """Bring a model folder into memory, off the event loop.

        Args:
            folder: model, tokenizer and, where there are any, their JSON files.
            threads: processor threads of one run.
            workers: runs at once.
            max_length: tokens a text may hold, special tokens included; None takes the folder's own limit.

        Raises:
            ModelLoadFailed: a file is missing or broken, or the model is not a text embedder.
        """
        return await asyncio.to_thread(cls._load, folder, threads, workers, max_length)

    @classmethod
    def _load(cls, path: Path, threads: int, workers: int, max_length: int | None) -> "OnnxEmbedder":
        folder = read_folder(path)
        vocabulary = Vocabulary.load(folder, max_length or folder.max_length)
        network = open_network(
            folder.model, threads=threads, pooling=folder.pooling, extra_modules=folder.extra_modules
        )
        embedder = cls(vocabulary, network, workers=workers)
        # A length the files do not promise is tried before anybody relies on it.
        return_memory()
        embedder._try(max_length if max_length and max_length > folder.max_length else 1)
        return embedder

    def _try(self, length: int) -> None:
        try:
            self._run([[self._vocabulary.pad_id] * length])
        except UpstreamRefused as error:
            raise ModelLoadFailed(f"A text of {length} tokens was refused. {error.message}") from error

    @property
    def max_length(self) -> int:
        """Tokens a text may hold, special tokens included; what is longer is cut."""
        return self._vocabulary.max_length

    async def embed(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> Embedding:
        """One unit vector a text (or list of token ids), in the caller's order.

        `tokens` counts what the model read, special tokens included and what was cut left out.

        Raises:
            InvalidRequest: a token id the model does not know, text that is no Unicode, or nothing to read.
        """
        if len(texts) == 1:
            return await self._workers.run(self._one, texts)
        read = await self._workers.run(self._read, texts)
        vectors: list[list[float]] = [[] for _ in read]
        for batch in plan([len(text.ids) for text in read]):
            rows = await self._workers.run(self._run, [read[index].ids for index in batch])
            for index, row in zip(batch, rows, strict=True):
                vectors[index] = row
        return Embedding(
            vectors=vectors,
            tokens=sum(len(text.ids) for text in read),
            truncated=tuple(index for index, text in enumerate(read) if text.truncated),
        )

    async def tokenize(self, text: str) -> Sequence[int]:
        """The model's own token ids of a text, without special tokens and not cut.

        Raises:
            InvalidRequest: text that is no Unicode.
        """
        [ids] = await self._workers.run(self._vocabulary.ids, [text])
        return ids

    async def healthy(self) -> bool:
        """Whether the model answers a one-token text; asked beside the queue, so that load is not illness."""
        return await answers(self._run, [[self._vocabulary.pad_id]])

    async def close(self) -> None:
        """Let running batches end, then let go of the model's memory."""
        self._network = gone
        await self._workers.close()

    def _read(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> list[Text]:
        words = [text for text in texts if isinstance(text, str)]
        tokens = iter(self._vocabulary.ids(words))
        ids = (
            next(tokens) if isinstance(text, str) else self._vocabulary.known(index, text)
            for index, text in enumerate(texts)
        )
        return [self._vocabulary.framed(index, given) for index, given in enumerate(ids)]

    def _one(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> Embedding:
        """A single text is read and run in one turn: another one would take longer than the reading."""
        [text] = self._read(texts)
        return Embedding(
            vectors=self._run([text.ids]), tokens=len(text.ids), truncated=(0,) if text.truncated else ()
        )

    def _run(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        shape = (len(batch), max(len(ids) for ids in batch))
        ids = np.full(shape, self._vocabulary.pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, given in enumerate(batch):
            ids[row, : len(given)] = given
            mask[row, : len(given)] = 1
        return self._network(ids, mask).tolist()


def gone(_ids: Ints, _mask: Ints) -> Floats:
    """What is left of a closed embedder."""
    raise UpstreamDied("The model has left memory.")

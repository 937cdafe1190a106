"""The classifier: texts to a probability a label, batched over all its callers, in worker threads.

A text that is longer than the model reads is read in windows. Where exactly one label fits, the window counts that
is least neutral (or, where no label is neutral, surest); where any labels may fit, each counts where it is
likeliest.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from enginehouse.engines.base import Classification
from enginehouse.engines.onnx.batches import BATCH_TOKENS
from enginehouse.engines.onnx.folder import OnnxFolder, Problem, read_folder
from enginehouse.engines.onnx.gathering import Gathering, Row
from enginehouse.engines.onnx.memory import return_memory
from enginehouse.engines.onnx.network import OpenHead, open_head
from enginehouse.engines.onnx.pooling import Floats, Ints
from enginehouse.engines.onnx.vocabulary import Vocabulary
from enginehouse.engines.onnx.workers import Workers, answers
from enginehouse.errors import EngineError, ModelLoadFailed, UpstreamDied

__all__ = ["MOST_WINDOWS", "OnnxClassifier"]

MOST_WINDOWS = 64
"""Windows that are read of one text: half of them from its beginning, half from its end."""

LONGEST_WORD = 16
"""Characters that a token is taken to have at most when a huge text is cut before it is read at all."""

NEUTRAL = frozenset({"benign", "safe", "legit", "legitimate", "normal", "none", "neutral", "ham", "not_injection"})
"""Labels that stand for "nothing of the kind", when the folder does not name one."""

MOST_LABELS = 10_000
"""What has more outputs than this is a language model, not a classifier."""


class _Text(Struct, frozen=True):
    """One text as the model reads it."""

    windows: list[list[int]]
    truncated: bool


class OnnxClassifier:
    """One ONNX classifier in memory: `Classifies` and `Engine` of the base protocols.

    At most `workers` batches run at once; tokenising has a thread of its own, so that a huge text holds nobody up.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        head: OpenHead,
        folder: OnnxFolder,
        *,
        workers: int = 1,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        labels = self.labels = folder.labels
        self._vocabulary = vocabulary
        self._head = head.score
        self._width = head.length or 0
        self._several = folder.problem is Problem.ANY_LABELS or len(labels) == 1
        self._neutral = neutral_of(folder, labels)
        self._threshold = folder.threshold
        self._workers = Workers(workers)
        self._reader = Workers(1)
        self._gathering = Gathering(
            self._run, self._workers, at_once=workers, tokens=batch_tokens, width=self._width
        )

    @classmethod
    def load(
        cls, path: Path, threads: int, workers: int, max_length: int | None, *, batch_tokens: int = BATCH_TOKENS
    ) -> "OnnxClassifier":
        """Bring a model folder into memory. Blocks for as long as the weights take.

        Args:
            path: model, tokenizer and their JSON files.
            threads: processor threads of one run.
            workers: runs at once.
            max_length: tokens of one window, special tokens included; None takes the folder's own limit.
            batch_tokens: most tokens of one run, padding included; a longer window runs alone.

        Raises:
            ModelLoadFailed: a file is missing or broken, or the model is not a text classifier.
        """
        folder = read_folder(path)
        if folder.problem is Problem.NUMBER:
            raise ModelLoadFailed(f"{path.name}/config.json says problem_type regression; only classes are scored.")
        head = open_head(folder.model, threads=threads)
        limits = (max_length, folder.max_length, head.length)
        vocabulary = Vocabulary.load(folder, min(limit for limit in limits if limit))
        classifier = cls(vocabulary, head, folder, workers=workers, batch_tokens=batch_tokens)
        return_memory()
        classifier._try(path)
        return classifier

    def _try(self, path: Path) -> None:
        """The longest window is tried before anybody relies on it."""
        try:
            [row] = self._run([[self._vocabulary.pad_id] * self.max_length])
        except EngineError as error:
            raise ModelLoadFailed(f"A text of {self.max_length} tokens was refused. {error.message}") from error
        if len(row) > MOST_LABELS:
            raise ModelLoadFailed(f"{path.name} answers {len(row)} numbers a text; it is no classifier.")
        if self.labels and len(row) != len(self.labels):
            raise ModelLoadFailed(
                f"{path.name} answers {len(row)} numbers a text, but config.json names {len(self.labels)} labels."
            )
        if not self.labels:
            self.labels = tuple(f"LABEL_{number}" for number in range(len(row)))

    @property
    def max_length(self) -> int:
        """Tokens of one window, special tokens included."""
        return self._vocabulary.max_length

    async def classify(self, texts: Sequence[str]) -> Classification:
        """Scores of each text, in the caller's order.

        What is no Unicode, such as half of a surrogate pair, is read as the replacement character.
        """
        with self._gathering.expecting():
            read = await self._reader.run(self._read, texts)
        windows = [window for text in read for window in text.windows]
        rows = iter(await self._gathering.rows(windows))
        return Classification(
            labels=self.labels,
            neutral=None if self._neutral is None else self.labels[self._neutral],
            threshold=self._threshold,
            scores=[self._verdict([next(rows) for _ in text.windows]) for text in read],
            tokens=sum(map(len, windows)),
            truncated=tuple(index for index, text in enumerate(read) if text.truncated),
        )

    async def healthy(self) -> bool:
        """Whether the model answers a one-token text."""
        return await answers(self._run, [[self._vocabulary.pad_id]])

    async def close(self) -> None:
        """Let running batches end, then let go of the model's memory."""
        self._head = gone
        await self._reader.close()
        await self._workers.close()

    def _read(self, texts: Sequence[str]) -> list[_Text]:
        half = MOST_WINDOWS // 2 * self._vocabulary.room * LONGEST_WORD
        cut = [clean(text if len(text) <= 2 * half else f"{text[:half]} {text[-half:]}") for text in texts]
        read: list[_Text] = []
        for text, ids in zip(texts, self._vocabulary.ids(cut), strict=True):
            windows, missing = self._vocabulary.windows(ids, MOST_WINDOWS)
            read.append(_Text(windows, missing or len(text) > 2 * half))
        return read

    def _run(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        shape = (len(batch), max(self._width, *map(len, batch)))
        ids = np.full(shape, self._vocabulary.pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, given in enumerate(batch):
            ids[row, : len(given)] = given
            mask[row, : len(given)] = 1
        logits = self._head(ids, mask, np.zeros(shape, dtype=np.int64))
        scores: list[list[float]] = (sigmoid(logits) if self._several else softmax(logits)).tolist()
        return scores

    def _verdict(self, rows: Sequence[Row]) -> Row:
        """One row of the rows of a text's windows."""
        if len(rows) == 1:
            return rows[0]
        if self._several:
            return [max(scores) for scores in zip(*rows, strict=True)]
        if self._neutral is None:
            return max(rows, key=max)
        neutral = self._neutral
        return min(rows, key=lambda row: row[neutral])


def neutral_of(folder: OnnxFolder, labels: tuple[str, ...]) -> int | None:
    """Which label stands for "nothing of the kind".

    Raises:
        ModelLoadFailed: the folder names one that it does not have.
    """
    if folder.neutral is not None and folder.neutral not in labels:
        raise ModelLoadFailed(
            f"{folder.path.name}/config.json: the neutral_label {folder.neutral!r} is none of its labels."
        )
    names = {folder.neutral} if folder.neutral is not None else NEUTRAL
    return next((number for number, label in enumerate(labels) if label in names or label.lower() in names), None)


def clean(text: str) -> str:
    """The text as Unicode: surrogate pairs are joined, halves of them replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def softmax(logits: Floats) -> Floats:
    """Rows that sum up to 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """Each number for itself."""
    return ((np.tanh(logits / 2) + 1) / 2).astype(np.float32)


def gone(_ids: Ints, _mask: Ints, _types: Ints) -> Floats:
    """What is left of a closed classifier."""
    raise UpstreamDied("The model has left memory.")

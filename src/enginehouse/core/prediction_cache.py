"""What classifiers said before: bounded, and forgotten after a while."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec
from msgspec import Struct

from enginehouse.engines.base import Classification
from enginehouse.settings.schema import PredictionSettings
from enginehouse.types import Model

__all__ = ["PredictionCache", "Remembered"]

_BYTES = 16


class Remembered(Struct, frozen=True, kw_only=True):
    """What was said of one text."""

    labels: tuple[str, ...]
    scores: Sequence[float]
    truncated: bool
    neutral: str | None = None
    threshold: float | None = None

    @classmethod
    def of(cls, classification: Classification, index: int) -> "Remembered":
        """One text of a batch."""
        return cls(
            labels=classification.labels,
            scores=tuple(classification.scores[index]),
            truncated=index in classification.truncated,
            neutral=classification.neutral,
            threshold=classification.threshold,
        )


class PredictionCache:
    """Texts are kept as digests only; another version of a model, or the same with other files, is another model.

    Args:
        settings: how many, and for how long.
        clock: seconds that only grow.
    """

    def __init__(self, settings: PredictionSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Remembered]] = OrderedDict()
        self._models: dict[str, tuple[Model, bytes]] = {}
        self.hits = 0
        """Texts that were answered from here, since the start."""
        self.misses = 0
        """Texts that were looked for in vain."""
        self.adopt(settings)

    def adopt(self, settings: PredictionSettings) -> None:
        """Other bounds count at once."""
        self._settings = settings
        self._shrink()

    def __len__(self) -> int:
        """How many texts are known."""
        return len(self._kept)

    def get(self, model: Model, text: str) -> Remembered | None:
        """What the model said of the text, unless that was too long ago."""
        key = self._key(model, text)
        kept = self._kept.get(key)
        if kept is None or kept[0] <= self._clock():
            self._kept.pop(key, None)
            self.misses += 1
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        return kept[1]

    def put(self, model: Model, text: str, said: Remembered) -> None:
        """Keep it; the one that was wanted longest ago goes when there are too many."""
        key = self._key(model, text)
        self._kept[key] = (self._clock() + self._settings.cache_ttl, said)
        self._kept.move_to_end(key)
        self._shrink()

    def _shrink(self) -> None:
        most = self._settings.cache_entries if self._settings.cache_ttl else 0
        while len(self._kept) > most:
            self._kept.popitem(last=False)

    def _key(self, model: Model, text: str) -> bytes:
        return blake2b(
            text.encode("utf-8", "surrogatepass"), key=self._fingerprint(model), digest_size=_BYTES
        ).digest()

    def _fingerprint(self, model: Model) -> bytes:
        """Of all that makes a model what it is; made once for each."""
        known = self._models.get(model.id)
        if known is not None and known[0] is model:
            return known[1]
        first = model.deployments[0]
        made_of = (model.id, model.created, first.engine, first.source, first.sha256, first.context_length)
        fingerprint = blake2b(msgspec.json.encode(made_of), digest_size=_BYTES).digest()
        self._models[model.id] = (model, fingerprint)
        return fingerprint

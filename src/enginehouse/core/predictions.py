"""What classifiers say of texts: from memory where it was said before, else asked of the model."""

from collections.abc import Sequence

from msgspec import Struct

from enginehouse.core.gateway import Gateway
from enginehouse.core.prediction_cache import PredictionCache, Remembered
from enginehouse.types import Model, Request

__all__ = ["Predicted", "Prediction", "Predictions"]


class Prediction(Struct, frozen=True, kw_only=True):
    """Of one text."""

    said: Remembered
    cached: bool
    """Whether it was remembered."""

    @property
    def label(self) -> str:
        """The likeliest one."""
        return self.said.labels[self._first]

    @property
    def confidence(self) -> float:
        """Its probability."""
        return self.said.scores[self._first]

    @property
    def probabilities(self) -> dict[str, float]:
        """All of them, by label."""
        return dict(zip(self.said.labels, self.said.scores, strict=True))

    @property
    def _first(self) -> int:
        return max(range(len(self.said.scores)), key=self.said.scores.__getitem__)


class Predicted(Struct, frozen=True, kw_only=True):
    """Of several texts, in order."""

    model: Model
    predictions: Sequence[Prediction]


class Predictions:
    """Asks classifiers.

    Args:
        gateway: the way of every request.
        cache: what was said before.
    """

    def __init__(self, gateway: Gateway, cache: PredictionCache) -> None:
        self._gateway = gateway
        self.cache = cache

    async def predict(
        self, request: Request, texts: Sequence[str], *, read: bool = True, write: bool = True
    ) -> Predicted:
        """What the model says of each text; a text that comes twice is asked once.

        Args:
            request: whose.
            texts: any.
            read: whether what was said before will do.
            write: whether it may be remembered.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it does not classify.
            EnginehouseError: as for `Gateway.frames`.
        """
        model = self._gateway.resolve(request)
        known = {text: said for text in texts if read and (said := self.cache.get(model, text)) is not None}
        unknown = [text for text in dict.fromkeys(texts) if text not in known]
        fresh: dict[str, Remembered] = {}
        if unknown:
            answered = await self._gateway.classify(request, unknown)
            model = answered.seat.model
            fresh = {text: Remembered.of(answered.classification, index) for index, text in enumerate(unknown)}
            for text, said in fresh.items() if write else ():
                self.cache.put(model, text, said)
        else:
            await self._gateway.note_hit(request, model)
        return Predicted(
            model=model,
            predictions=[
                Prediction(said=known[text], cached=True)
                if text in known
                else Prediction(said=fresh[text], cached=False)
                for text in texts
            ],
        )

"""`POST /predict`: which labels fit a text, or up to a thousand, as the model cache's clients ask for it."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta, Struct

from enginehouse.api.attending import Attended
from enginehouse.api.dialect import decode
from enginehouse.api.faces import Face, Page, request_of
from enginehouse.api.refusals import shape_of
from enginehouse.api.wire import Exchange
from enginehouse.core.gateway import patience
from enginehouse.core.predictions import Predicted, Prediction, Predictions
from enginehouse.errors import EnginehouseError, InvalidRequest
from enginehouse.types import Operation

__all__ = ["MOST_TEXTS", "predict_faces"]

MOST_TEXTS = 1000
"""Texts of one request."""

_DIGITS = 6


class PredictBody(Struct, kw_only=True):
    """`POST /predict`: one text, or several."""

    text: str | None = None
    texts: Annotated[list[str], Meta(min_length=1, max_length=MOST_TEXTS)] | None = None
    model_name: Annotated[str, Meta(min_length=1)] | None = None


_body = msgspec.json.Decoder(PredictBody)
_PAGE = Page(
    summary="Which labels fit a text, with their probabilities; `texts` in a body asks for up to 1,000 at once.",
    body=PredictBody,
    tag="model cache",
    query=MappingProxyType(
        {"text": "The text.", "model_name": "The classifier; the configured one when left out."}
    ),
)


def predict_faces(predictions: Predictions, default: Callable[[], str]) -> Mapping[str, Face]:
    """The hot route, by path.

    Args:
        default: which model is asked when the caller names none.
    """
    return {"/predict": _PredictFace(predictions, default)}


class _Errors:
    """Errors as the model cache's clients read them."""

    statuses: Mapping[str, int] = MappingProxyType({})

    def write_error(self, error: EnginehouseError, status: int) -> bytes:
        """An error's body."""
        return msgspec.json.encode(shape_of("/predict").write(error, status))


class _PredictFace(Face):
    """`POST /predict`."""

    def __init__(self, predictions: Predictions, default: Callable[[], str]) -> None:
        super().__init__(_Errors(), _PAGE)
        self._predictions = predictions
        self._default = default

    async def handle(self, exchange: Exchange) -> None:
        """A text that is known is answered from memory, and says so."""
        began = time.perf_counter()
        asked = _asked(exchange.scope.get("query_string", b""), await exchange.read_body())
        texts = asked.texts if asked.texts is not None else [asked.text or ""]
        request = request_of(exchange, "predict", Operation.CLASSIFICATION, asked.model_name or self._default())
        read, write = request.caching.read, request.caching.write
        async with Attended(exchange, streams=False), patience(request):
            predicted = await self._predictions.predict(request, texts, read=read, write=write)
        hits = sum(one.cached for one in predicted.predictions)
        exchange.timings.cache = _said_of(hit=hits == len(texts), read=read)
        took = round((time.perf_counter() - began) * 1000, 3)
        answer = _batch(texts, predicted, took) if asked.texts is not None else _single(texts[0], predicted, took)
        await exchange.respond(200, msgspec.json.encode(answer))


def _asked(query: bytes, body: bytes) -> PredictBody:
    """What is asked, in the address or in the body.

    Raises:
        InvalidRequest: nothing, or the same in both.
    """
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True, errors="replace")
    asked = decode(body, _body) if body.strip() else PredictBody()
    fields: dict[str, str] = {}
    for name in ("text", "model_name"):
        values = given.get(name, [])
        if len(values) > 1 or (values and getattr(asked, name) is not None):
            raise InvalidRequest(f"{name!r} is given more than once.", param=name)
        if values:
            fields[name] = values[0]
    asked = msgspec.structs.replace(asked, **fields)
    if (asked.text is None) is (asked.texts is None):
        raise InvalidRequest("Give a `text`, in the address or in the body, or `texts` in the body.", param="text")
    if asked.model_name == "":
        raise InvalidRequest("'model_name' is empty.", param="model_name")
    return asked


def _said_of(*, hit: bool, read: bool) -> str:
    if not read:
        return "bypass"
    return "exact" if hit else "miss"


def _single(text: str, predicted: Predicted, took: float) -> dict[str, Any]:
    return {
        "text": text,
        **_of(predicted.predictions[0]),
        "model_used": predicted.model.id,
        "processing_time_ms": took,
        "timestamp": datetime.now(UTC),
    }


def _batch(texts: list[str], predicted: Predicted, took: float) -> dict[str, Any]:
    return {
        "predictions": [{"text": text, **_of(one)} for text, one in zip(texts, predicted.predictions, strict=True)],
        "count": len(texts),
        "cache_hits": sum(one.cached for one in predicted.predictions),
        "model_used": predicted.model.id,
        "processing_time_ms": took,
        "timestamp": datetime.now(UTC),
    }


def _of(one: Prediction) -> dict[str, Any]:
    return {
        "prediction": one.label,
        "confidence": round(one.confidence, _DIGITS),
        "probabilities": {label: round(score, _DIGITS) for label, score in one.probabilities.items()},
        "cache_hit": one.cached,
        "truncated": one.said.truncated,
    }
